"""Who acts. A name is a claim: only a server that authenticates knows who is behind it."""

import getpass
import os
from dataclasses import dataclass

from i2i_unlearn.support import git

VARIABLE = "I2I_UNLEARN_ACTOR"
ACCOUNT = "MLFLOW_TRACKING_USERNAME"
BETWEEN_NAMES = "; "
"""In the tags `registered_by` and `registered_account`."""


@dataclass(frozen=True)
class Actor:
    """A person or a program that decides."""

    name: str
    source: str
    """Where the name comes from: --by, a variable's name, git, system."""
    account: str
    """Name under which the MLflow server knows the caller; empty if it asks for none, or only for a token."""

    @property
    def is_stated(self) -> bool:
        """The name was given, not guessed from the machine."""
        return self.source in ("--by", VARIABLE, ACCOUNT)

    def facts(self) -> dict[str, str]:
        """For the promotion record."""
        return {"by": self.name, "by_source": self.source, "by_account": self.account}


def find_actor(by: str = "") -> Actor:
    """The first of: `by`, I2I_UNLEARN_ACTOR, MLFLOW_TRACKING_USERNAME, git's user.name, the system's user."""
    account = os.environ.get(ACCOUNT, "")
    for name, source in ((by, "--by"), (os.environ.get(VARIABLE, ""), VARIABLE), (account, ACCOUNT)):
        if name.strip():
            return Actor(_plain(name), source, account)
    if name := git.git_user():
        return Actor(_plain(name), "git", account)
    try:
        return Actor(_plain(getpass.getuser()), "system", account)
    except (KeyError, OSError):  # a container's user may have no name
        return Actor(f"user {os.getuid()}", "system", account)


def same_person(one: str, other: str) -> bool:
    """Whether two names are the same; case and spaces do not count."""
    return _plain(one).casefold() == _plain(other).casefold()


def named_in(tag: str) -> list[str]:
    """The names in a tag."""
    return [name.strip() for name in tag.split(BETWEEN_NAMES.strip()) if name.strip()]


def _plain(name: str) -> str:
    """One line without the character that separates names in a tag."""
    return " ".join(name.replace(";", ",").split())
