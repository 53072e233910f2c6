import pytest

from tests.report import made_facts


@pytest.fixture(scope="session")
def made():
    """The module made_facts.py: facts made by hand, and the functions to vary them."""
    return made_facts
