"""dvc.yaml from one template: its stages call the command line, so the template lives here."""

from pathlib import Path

VERSION_FILE = "package-version.txt"
"""Holds the installed version in a project that only uses the package; DVC records its digest."""


def render(*, sources: bool) -> str:
    """Text of dvc.yaml.

    `sources`: stages depend on the folders of this repository's code. Otherwise, in a project that has the package
    installed, they depend on its version, which a stage of its own records.
    """
    from jinja2 import Environment, StrictUndefined

    template = (Path(__file__).parent / "templates/dvc.yaml.j2").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(sources=sources, version_file=VERSION_FILE)


if __name__ == "__main__":
    print(render(sources=True), end="")
