"""Templates of files that a project begins with."""

from pathlib import Path


def render(name: str, /, **values: object) -> str:
    """The text of a template with `values` filled in; a value that it lacks is an error."""
    from jinja2 import Environment, StrictUndefined

    template = (Path(__file__).parent / name).read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(**values)
