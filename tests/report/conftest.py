import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made():
    """The module made_facts.py: facts made by hand, and the functions to vary them."""
    path = Path(__file__).with_name("made_facts.py")
    spec = importlib.util.spec_from_file_location("made_facts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
