"""Commands, one module per group. They import only typer and the standard library at the top."""
