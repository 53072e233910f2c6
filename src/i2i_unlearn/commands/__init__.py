"""Commands, one module a part. They import only typer and the standard library at the top."""
