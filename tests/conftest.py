"""Fixtures of all tests. Nothing here or in any test leaves this machine."""

import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

PROJECT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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


@pytest.fixture(scope="session")
def as_trained():
    """
    Makes a model what a training would: its scales, offsets and statistics of batch norms all differ.

    Those of a fresh model are ones and zeros, which hides errors of whoever merges or exports them.
    """
    import torch

    def trained(model, side: int):
        for parameter in model.parameters():
            if parameter.ndim == 1 or parameter.numel() == max(parameter.shape):
                torch.nn.init.uniform_(parameter, 0.2, 0.8)
        norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None
        model.train()
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(4, 3, side, side))
            for norm in norms:
                norm.running_mean += norm.running_var.sqrt() * torch.rand_like(norm.running_mean)
        return model.eval()

    return trained


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window. Of each module, because asyncio takes no other loop while it runs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed: pip install -e .[dev]")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs rights that containers lack.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()
