"""Augmentations: what JSON files of albumentations' transforms make of a face before it is trained on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import albumentations.core.composition
import cv2
import numpy as np
import torch

from ..errors import InputError, first_line
from .transforms import PATCH_SIZE, build_transform

# Where these come first, they are the same for all views of a capture.
_WITHOUT_CHANCE = ("Resize", "CenterCrop")
_TRIED_VIEWS = 8


class Augmentation:
    """
    A sequence of transforms that turns a face into views to train on.

    All randomness comes from the generator that [`Augmentation.views`] is given. Left to its own seed, albumentations
    would give every transform the same one, and those of equal probability would be applied together or not at all.

    Args:
        steps: transforms in albumentations' words, `[{"transform": "HorizontalFlip", "p": 0.5}, ...]`; see
            `docs/augmentation.md`.
        patch_size: side P of the views in pixels, which the steps have to end in.
        name: what a message calls it, the path of its file for instance.

    Raises:
        InputError: a transform or an argument isn't known, or is of a wrong type or range.
    """

    def __init__(self, steps: Sequence[Mapping], patch_size: int, name: str = "augmentation"):
        if not isinstance(steps, list | tuple) or not steps:
            raise InputError(f'{name}: expected a list of transforms, [{{"transform": NAME, ...}}, ...]')
        self.steps, self.patch_size, self.name = list(steps), patch_size, name
        self._transforms = [
            build_transform(step, f"{name}: transform {number}", patch_size) for number, step in enumerate(steps, 1)
        ]
        self._shared = 0
        for step, transform in zip(self.steps, self._transforms, strict=True):
            if step["transform"] not in _WITHOUT_CHANCE or transform.p < 1:
                break
            self._shared += 1

    @classmethod
    def read(cls, path: str | Path, patch_size: int) -> "Augmentation":
        """
        The augmentation that a JSON file describes.

        Raises:
            InputError: also where the file is missing, or is no JSON.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            steps = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_number)
        except FileNotFoundError:
            raise InputError(f"augmentation {path} doesn't exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"augmentation {path} can't be read: {error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"augmentation {path} is no JSON: {first_line(error)}") from error
        return cls(steps, patch_size, str(path))

    def __reduce__(self):
        # A worker that isn't forked builds its own transforms.
        return type(self), (self.steps, self.patch_size, self.name)

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(step['transform'] for step in self.steps)}"

    def views(self, face: np.ndarray, random: np.random.Generator, count: int = 2) -> np.ndarray:
        """
        Views of a face, each with chances of its own.

        Args:
            face: `(H, W, 3)` uint8 RGB; left as it is.
            random: source of all randomness; equal states give equal views.
            count: number of views V.

        Returns:
            `(V, P, P, 3)` uint8.

        Raises:
            InputError: the face can't be transformed, or becomes something else than such a view.
        """
        self._draw_from(random)
        image = np.ascontiguousarray(face)
        for number in range(self._shared):
            image = self._applied(number, image)
        views = [self._view(image) for _ in range(count)]
        return np.stack(views)

    def check(self, face: np.ndarray) -> None:
        """
        Tries every transform, however seldom it is applied, and some views.

        Args:
            face: `(H, W, 3)` uint8 RGB, the first one of a run.

        Raises:
            InputError: as for [`Augmentation.views`].
        """
        self._draw_from(np.random.default_rng(0))
        image = np.ascontiguousarray(face)
        for number, transform in enumerate(self._transforms):
            image = self._guarded(number, image, _forced, transform)
        self.views(face, np.random.default_rng(0), _TRIED_VIEWS)

    def _draw_from(self, random: np.random.Generator) -> None:
        if torch.utils.data.get_worker_info() is not None:
            # Workers share the cores out among themselves already. Not 1: told so after a fork, OpenCV waits forever
            # for threads that its parent had.
            cv2.setNumThreads(0)
        python_random = Random(int(random.integers(2**63)))
        for transform in self._transforms:
            transform.set_random_state(random, python_random)

    def _view(self, image: np.ndarray) -> np.ndarray:
        for number in range(self._shared, len(self._transforms)):
            image = self._applied(number, image)
        side = self.patch_size
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise InputError(
                f"{self.name} ends in {image.dtype} of shape {image.shape}; views are RGB of 8 bits, of shape "
                f"({side}, {side}, 3)"
            )
        if image.shape[:2] != (side, side):
            height, width = image.shape[:2]
            raise InputError(
                f"{self.name} ends in {width}x{height} pixels, but patch_size is {side}; give --patch_size as it "
                f'ends, or end it with a crop to "{PATCH_SIZE}"'
            )
        return image

    def _applied(self, number: int, image: np.ndarray) -> np.ndarray:
        return self._guarded(number, image, _once, self._transforms[number])

    def _guarded(self, number: int, image: np.ndarray, function, transform) -> np.ndarray:
        try:
            return function(transform, image)
        except Exception as error:  # whatever albumentations and OpenCV raise, it's this file that asks for it
            height, width = image.shape[:2]
            raise InputError(
                f"{self.name}: transform {number + 1}, {self.steps[number]['transform']}, can't take an image of "
                f"{width}x{height} pixels: {type(error).__name__}: {first_line(error)}"
            ) from error


def _once(transform, image: np.ndarray) -> np.ndarray:
    return transform(image=image)["image"]


def _forced(transform, image: np.ndarray) -> np.ndarray:
    """`image` after a transform whatever its probability; of a choice, after the last one of those that are tried."""
    if not isinstance(transform, albumentations.core.composition.BaseCompose):
        return transform(image=image, force_apply=True)["image"]
    given = image
    for part in transform.transforms:
        image = _forced(part, image if isinstance(transform, albumentations.Sequential) else given)
    return image


def _without_repetition(pairs: list[tuple[str, object]]) -> dict:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} is there twice in one mapping")
    return mapping


def _no_number(text: str):
    raise ValueError(f"{text} is no number of JSON")
