"""Shared by the tests of weights."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("authors_names", Path(__file__).with_name("authors_names.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


@pytest.fixture(scope="session")
def authors_names():
    """The module of that name beside this one."""
    return module
