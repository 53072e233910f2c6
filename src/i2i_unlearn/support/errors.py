"""The ways in which a command can fail that are not a bug."""


class UserError(Exception):
    """Input is wrong. The message is one line: what was wrong, what was found, what to do. Exit code 1."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
        """All of them, one line each."""


class Diverged(UserError):  # noqa: N818  of a sweep, a result and not an error
    """Training produced non-finite numbers. For a point of a sweep that is a result."""


class GateRefused(Exception):  # noqa: N818  a refusal is a decision, not an error
    """A version may not become champion, or differs from what was recorded. Exit code 3."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        """All of them, one line each."""
