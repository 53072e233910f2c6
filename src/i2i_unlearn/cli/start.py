"""Where the program starts: it answers Ctrl-C with one line from its first moment, imports included."""

from i2i_unlearn.cli.interrupt import ended


def start() -> None:
    """Run the command line."""
    ended(_main)


def _main() -> None:
    from i2i_unlearn.cli.main import main

    main()
