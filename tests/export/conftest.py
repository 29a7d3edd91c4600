"""Models, their graphs, and real installations of the project, each made once for all tests."""

import importlib.util
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pytest
import setuptools
import torch

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.export.exporter import export_graph
from patchnet_hf.export.options import GraphOptions
from patchnet_hf.inference.scorers import TorchScorer

spec = importlib.util.spec_from_file_location("textures", Path(__file__).with_name("textures.py"))
of_textures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(of_textures)

# Side of a patch, and what timm is told of it.
BACKBONES = {
    "resnet18": (32, {}),
    "fastvit_t8": (64, {}),
    "efficientformerv2_s0": (64, {"img_size": 64}),
    "convnext_tiny": (32, {}),
    "cdcn": (32, {}),
    "cdcnpp": (32, {}),
    "dc_cdn": (32, {}),
    # timm's own for tests.
    "test_resnet": (32, {}),
    "test_convnext": (32, {}),
    "test_vit": (32, {"img_size": 32}),
}


class Model(NamedTuple):
    """A model and its image processor of 9 patches."""

    network: PatchNetForImageClassification
    processor: PatchNetImageProcessor

    def save(self, folder: Path) -> Path:
        for part in self:
            part.save_pretrained(folder)
        return folder

    def scorer(self) -> TorchScorer:
        return TorchScorer("model", *self)


@pytest.fixture(scope="session")
def textures():
    """The module of that name beside this one."""
    return of_textures


@pytest.fixture(scope="session")
def model_of(as_trained) -> Callable[..., Model]:
    """A model of a backbone as if it had been trained, calibrated or not."""

    @cache
    def model_of(backbone: str, calibrated: bool = False) -> Model:
        side, options = BACKBONES[backbone]
        torch.manual_seed(0)
        config = PatchNetConfig(
            backbone=backbone,
            backbone_kwargs=options,
            image_size=side,
            patch_types=of_textures.PATCH_TYPES,
            live_patch_types=of_textures.PATCH_TYPES[:1],
            calibration={"scale": 0.5, "bias": -0.3} if calibrated else None,
            decision_threshold=0.3,
        )
        network = as_trained(PatchNetForImageClassification(config), side)
        model = Model(network, PatchNetImageProcessor(patch_size=side))
        of_textures.put_weights_at_means(*model)
        return model

    return model_of


@pytest.fixture(scope="session")
def graph_of(model_of, tmp_path_factory) -> Callable[..., Path]:
    """The file that such a model is exported to."""
    pytest.importorskip("onnxruntime")

    @cache
    def graph_of(backbone: str, calibrated: bool = False, options: GraphOptions | None = None) -> Path:
        path = tmp_path_factory.mktemp("graphs") / f"{backbone}.onnx"
        export_graph(*model_of(backbone, calibrated), path, options)
        return path

    return graph_of


@pytest.fixture(scope="session")
def learned() -> Model:
    """A small model that has learned to tell textures apart, but for the faintest, and is calibrated somehow."""
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone="test_resnet",
        image_size=32,
        patch_types=of_textures.PATCH_TYPES,
        live_patch_types=of_textures.PATCH_TYPES[:1],
        scale=16.0,
        margin_live=0.1,
        similarity_weight=0.1,
        calibration={"scale": 0.7, "bias": -0.8},
        decision_threshold=0.45,
    )
    model = Model(PatchNetForImageClassification(config), PatchNetImageProcessor(patch_size=32))
    of_textures.learn(*model, steps=80)
    return model


@pytest.fixture(scope="session")
def learned_folder(learned, tmp_path_factory) -> Path:
    return learned.save(tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="session")
def captures(tmp_path_factory) -> Path:
    """A dataset of textures: `dev`, `test`, `live` without attacks, and `faint` of a tenth of the contrast."""
    folder = tmp_path_factory.mktemp("captures") / "textures"
    test = of_textures.textures(160, seed=2)
    sets = {
        "dev": of_textures.textures(80, seed=1),
        "test": test,
        "live": test.select(range(0, len(test), 2)),
        "faint": of_textures.textures(16, seed=3, contrast=0.1),
    }
    datasets.DatasetDict(sets).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """20 face crops of random sizes, some smaller than a patch: noise, edges, dark and bright."""
    random = np.random.default_rng(0)
    sides = np.concatenate([random.integers(1, 40, size=(8, 2)), random.integers(40, 260, size=(12, 2))])
    found = []
    for height, width in sides:
        noise = random.normal(random.uniform(20, 230, size=3), random.uniform(2, 90), size=(height, width, 3))
        found.append(noise.round().clip(0, 255).astype(np.uint8))
    return found


@pytest.fixture(scope="session")
def sources(tmp_path_factory, project) -> Path:
    """A copy of what the project is built from: building leaves files there."""
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip(f"setuptools {setuptools.__version__} is older than what pyproject.toml builds with")
    folder = tmp_path_factory.mktemp("sources")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, folder)
    shutil.copytree(project / "patchnet_hf", folder / "patchnet_hf", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def install(new_environment, sources) -> Callable:
    """A new environment with the project as a `"wheel"`, as `"editable"`, or with none of it (`"bare"`)."""

    def install(kind: str):
        environment = new_environment()
        if kind != "bare":
            how = ["--editable"] if kind == "editable" else []
            # `--ignore-installed`: what this Python has of the project is no business of the new environment.
            offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
            environment.pip("install", *offline, *how, sources)
        return environment

    return install


@pytest.fixture(scope="session")
def installed(install) -> Callable:
    """As `install`, one environment of each kind for all tests that only run things there."""
    environments = {}

    def installed(kind: str):
        if kind not in environments:
            environments[kind] = install(kind)
        return environments[kind]

    return installed
