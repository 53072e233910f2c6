"""The ways a command ends that are not our bug."""


class UserError(Exception):
    """Input is wrong. The message is one line: what was wrong, what was found, what to do. Exit code 1."""


class Diverged(UserError):  # noqa: N818  of a sweep, a result and not an error
    """Training left the finite numbers: these settings lead nowhere. Of a sweep's point, that is a result."""


class GateRefused(Exception):  # noqa: N818  a refusal is a decision, not an error
    """A version may not become champion, or is not what it should be. Exit code 3."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
        """All of them, each a line."""
