"""The model whose speed is measured: a trained one, or any backbone with random weights."""

from dataclasses import dataclass

import torch

from ..errors import InputError, first_line
from ..inference.scorers import load_model
from ..models import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor

PATCH_SIZE = 160


@dataclass(frozen=True, eq=False)
class Subject:
    """A model in evaluation mode on the processor, in float32, and its image processor."""

    model: PatchNetForImageClassification
    processor: PatchNetImageProcessor
    trained: bool

    @classmethod
    def load(cls, model: str, revision: str | None = None) -> "Subject":
        """A trained model of a folder or the Hub.

        Raises:
            InputError: it can't be loaded.
        """
        network, processor = load_model(model, revision)
        return cls(network.float(), processor, trained=True)

    @classmethod
    def random(cls, backbone: str, backbone_kwargs: dict | None = None, patch_size: int = PATCH_SIZE) -> "Subject":
        """Random weights, the same each time; speed doesn't depend on them.

        Raises:
            InputError: the backbone is unknown or refuses its arguments.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                config = PatchNetConfig(backbone, backbone_kwargs, image_size=patch_size)
                model = PatchNetForImageClassification(config)
            except (AssertionError, RuntimeError, ValueError) as error:
                raise InputError(str(error)) from error
        return cls(model.eval(), PatchNetImageProcessor(patch_size=patch_size), trained=False)

    def check_patches(self) -> None:
        """
        Passes one black patch.

        Raises:
            InputError: the backbone doesn't take patches of this size.
        """
        size = self.processor.patch_size
        try:
            with torch.inference_mode():
                self.model(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.model.config.backbone} can't take patches of {size} x {size}: {first_line(error)}"
            ) from error

    def resized(self, patch_size: int) -> "Subject":
        """The same model on patches of another size."""
        return self._with(patch_size=patch_size)

    def gridded(self, grid: int) -> "Subject":
        """The same model on another number of patches of a capture."""
        return self._with(grid=grid)

    @property
    def scale(self) -> float:
        """By which the log-odds grow with the cosines, calibration included."""
        calibration = self.model.config.calibration
        return self.model.config.scale * (1.0 if calibration is None else calibration["scale"])

    @property
    def patches(self) -> int:
        """How many a capture has."""
        return self.processor.grid**2 if self.processor.mode == "patches" else 1

    def as_json(self) -> dict:
        config = self.model.config
        return {
            "backbone": config.backbone,
            "backbone_kwargs": config.backbone_kwargs,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "patch_size": self.processor.patch_size,
            "trained": self.trained,
        }

    def text(self) -> str:
        """One line."""
        described = self.as_json()
        weights = "trained" if self.trained else "random weights"
        size, millions = described["patch_size"], described["parameters"] / 1e6
        return f"{described['backbone']}, {millions:.1f} million parameters ({weights}), patches of {size} x {size}"

    def _with(self, **changed) -> "Subject":
        settings = {**self.processor.to_dict(), **changed}
        return Subject(self.model, PatchNetImageProcessor.from_dict(settings), self.trained)
