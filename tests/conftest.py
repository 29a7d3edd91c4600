"""Fixtures of all tests. Nothing here or in any test leaves this machine."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def nuaa_sample() -> Path:
    """280 real captures, which are for research use only and therefore not part of the project."""
    folder = PROJECT.parent / "shared" / "nuaa_sample"
    if not folder.is_dir():
        pytest.skip(f"the sample of real captures is not at {folder}")
    return folder
