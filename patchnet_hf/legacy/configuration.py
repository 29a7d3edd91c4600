"""The `config.yaml` of fas-patchnet and of Implementation-patchnet."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..models.image_processing_patchnet import IMAGENET_MEAN, IMAGENET_STD
from ..yaml_files import read_yaml_mapping
from .backbones import LegacyBackbone, legacy_backbone
from .checkpoint import FAS_PATCHNET, ORIGINAL

# A key that the one has and the other doesn't: there, `augmentation` is the name of a file.
OF_ORIGINAL = "dataset.augmentation.rand_crop_size"
MAPPINGS = ("dataset", "model", "train", "val", "loss")


@dataclass(frozen=True, eq=False)
class LegacyConfiguration:
    """
    What a `config.yaml` says of a model.

    Attributes:
        path: of the file.
        origin: of which project it is.
        values: all that it holds, nested keys joined by points (`"train.lr"`).
        base: `model.base`.
        backbone: what that names.
    """

    path: str
    origin: str
    values: dict
    base: str
    backbone: LegacyBackbone

    def number(self, key: str, default: float | None = None) -> float:
        """
        A number; YAML 1.1 reads 1e-5 as text.

        Raises:
            InputError: it isn't there and has no default, or is no finite number.
        """
        value = self.values.get(key, default)
        if value is None:
            raise InputError(f"config {self.path} has no {key}")
        try:
            if isinstance(value, bool):
                raise ValueError
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"config {self.path}: {key} is {value!r}; expected a number") from None
        if not math.isfinite(number):
            raise InputError(f"config {self.path}: {key} is {value!r}; expected a finite number")
        return number

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1.

        Raises:
            InputError: it isn't there and has no default, or is no such number.
        """
        number = self.number(key, default)
        if number != int(number) or number < 1:
            raise InputError(f"config {self.path}: {key} is {self.values[key]!r}; expected a whole number, at least 1")
        return int(number)

    @property
    def crop_size(self) -> int:
        """Side in pixels of the square that the network sees."""
        return self.whole("dataset.crop_size" if self.origin == FAS_PATCHNET else OF_ORIGINAL)

    @property
    def resize_size(self) -> int:
        """Side in pixels that a face is resized to before."""
        if self.origin == FAS_PATCHNET:
            size = self.whole("dataset.resize_size")
        else:
            sides = self.values.get("model.image_size")
            sides = sides if isinstance(sides, list) else [sides]
            if len(set(map(str, sides))) != 1 or not str(sides[0]).isdecimal() or int(sides[0]) < 1:
                raise InputError(
                    f"config {self.path}: model.image_size is {self.values.get('model.image_size')!r}; expected the "
                    "same number twice: faces are resized to squares"
                )
            size = int(sides[0])
        if size < self.crop_size:
            raise InputError(f"config {self.path}: faces resized to {size} are smaller than crops of {self.crop_size}")
        return size

    @property
    def descriptor_size(self) -> int | None:
        """Size of the descriptor that a layer of its own makes; `None` where the backbone's features are it."""
        return self.whole("model.descriptor_size") if self.backbone.has_head else None

    @property
    def scale(self) -> float:
        """Factor on the class scores before the softmax, above 0."""
        scale = self.number("loss.s", 30.0)
        if scale <= 0:
            raise InputError(f"config {self.path}: loss.s is {scale:g}; expected a positive number")
        return scale

    @property
    def mean(self) -> list[float]:
        """Of rescaled pixels, in RGB order."""
        return self._of_channels("dataset.mean", IMAGENET_MEAN)

    @property
    def std(self) -> list[float]:
        """Of rescaled pixels, in RGB order."""
        given = self._of_channels("dataset.sigma", IMAGENET_STD)
        if min(given) <= 0:
            raise InputError(f"config {self.path}: dataset.sigma is {given}; expected three positive numbers")
        return given

    def _of_channels(self, key: str, default: tuple[float, ...]) -> list[float]:
        # fas-patchnet has ImageNet's numbers in its code, in the order BGR of its pixels.
        given = self.values.get(key, default) if self.origin == ORIGINAL else default
        if not isinstance(given, list | tuple) or len(given) != 3 or not all(map(_is_number, given)):
            raise InputError(f"config {self.path}: {key} is {given!r}; expected three numbers")
        return [float(value) for value in given]


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def flattened(values: Mapping, inside: str = "") -> dict:
    """
    A nested mapping with keys joined by points.

    >>> flattened({"seed": 42, "train": {"lr": 0.1, "sets": [1, 2]}})
    {'seed': 42, 'train.lr': 0.1, 'train.sets': [1, 2]}
    """
    flat = {}
    for key, value in values.items():
        name = f"{inside}{key}"
        flat.update(flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def read_configuration(path: str | Path) -> LegacyConfiguration:
    """
    Reads a `config.yaml`.

    Raises:
        InputError: it is missing, no YAML, of neither project, or names a backbone that can't be converted.
    """
    given = read_yaml_mapping(path, "config")
    for name in MAPPINGS:
        if name in given and not isinstance(given[name], Mapping):
            raise InputError(f"config {path}: {name} is {given[name]!r}; expected a mapping of names to values")
    values = flattened(given)
    base = values.get("model.base")
    if base is None:
        raise InputError(f"config {path} has no model.base: it is no config.yaml of fas-patchnet")
    origin = ORIGINAL if OF_ORIGINAL in values else FAS_PATCHNET
    return LegacyConfiguration(str(path), origin, values, str(base), legacy_backbone(str(base), f"config {path}"))
