"""What a project is: the folder that `init` makes and `upgrade` moves to another version of this package."""
