"""The transforms of albumentations that an augmentation may name, and how they are built from what a file says."""

import inspect
import json
import os
import warnings
from collections.abc import Mapping

import cv2
import numpy as np
from pydantic import ValidationError

from ..errors import InputError, did_you_mean

# It would ask PyPI for a newer release when it is imported; 2.0.8 is the last one under the MIT licence.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations

PATCH_SIZE = "patch_size"
"""In place of a number: the side of the patches that the run asks for."""

COMPOSITIONS = ("OneOf", "SomeOf", "RandomOrder", "Sequential")
# By name, so that a file can't reach anything else. What needs masks, boxes or further images is of no use here, and
# ImageCompression writes the traces of another encoder over those of the camera.
TRANSFORMS = (
    *("HorizontalFlip", "VerticalFlip", "Transpose", "D4", "RandomRotate90"),
    *("Rotate", "SafeRotate", "Affine", "Perspective", "ElasticTransform", "GridDistortion", "OpticalDistortion"),
    *("Resize", "LongestMaxSize", "SmallestMaxSize", "RandomScale", "Pad", "PadIfNeeded"),
    *("RandomCrop", "CenterCrop", "RandomResizedCrop", "RandomSizedCrop", "CropAndPad", "RandomCropFromBorders"),
    *("RandomBrightnessContrast", "HueSaturationValue", "ColorJitter", "RGBShift", "RandomGamma", "RandomToneCurve"),
    *("CLAHE", "Equalize", "AutoContrast", "ToGray", "ToSepia", "ChannelShuffle", "ChannelDropout", "FancyPCA"),
    *("PlanckianJitter", "Posterize", "Solarize", "Illumination", "Sharpen", "UnsharpMask", "ChromaticAberration"),
    *("GaussNoise", "ISONoise", "MultiplicativeNoise", "ShotNoise", "SaltAndPepper"),
    *("Blur", "MedianBlur", "MotionBlur", "GaussianBlur", "Defocus", "ZoomBlur", "Downscale"),
    *("CoarseDropout", "Erasing", "GridDropout", "PixelDropout", "NoOp"),
)
INSTEAD = {
    "ShiftScaleRotate": "albumentations 2 scales its two axes differently; use Affine with keep_ratio",
    "ImageCompression": "it encodes the capture anew, which covers the traces that patches are judged by",
    "Normalize": "views stay uint8; the image processor normalises them",
    "ToFloat": "views stay uint8; the image processor normalises them",
    "ToTensorV2": "views stay arrays; the collator makes the tensors",
}

_INTERPOLATIONS = (
    *("INTER_NEAREST", "INTER_NEAREST_EXACT", "INTER_LINEAR", "INTER_LINEAR_EXACT"),
    *("INTER_CUBIC", "INTER_AREA", "INTER_LANCZOS4"),
)
_BORDERS = ("BORDER_CONSTANT", "BORDER_REPLICATE", "BORDER_REFLECT", "BORDER_REFLECT_101", "BORDER_WRAP")
_CONSTANTS = {
    **dict.fromkeys(("interpolation", "mask_interpolation", "interpolation_pair"), _INTERPOLATIONS),
    "border_mode": _BORDERS,
}


class GrayDropout(albumentations.CoarseDropout):
    """
    [`albumentations.CoarseDropout`] whose holes are all of one grey, drawn anew each time from 0 to 255.

    albumentations itself has a fixed colour, or another random colour for each hole.

    Args:
        num_holes_range: fewest and most holes.
        hole_height_range, hole_width_range: smallest and largest side in pixels, or, below 1, as parts of the image.
        p: probability.
    """

    def __init__(
        self,
        num_holes_range: tuple[int, int] = (1, 2),
        hole_height_range: tuple[float, float] | tuple[int, int] = (0.1, 0.2),
        hole_width_range: tuple[float, float] | tuple[int, int] = (0.1, 0.2),
        p: float = 0.5,
    ):
        super().__init__(num_holes_range, hole_height_range, hole_width_range, p=p)

    def apply(self, img: np.ndarray, holes: np.ndarray, seed: int, **params) -> np.ndarray:
        """`img` `(H, W, 3)` uint8, copied, with `holes` `(N, 4)` (left, top, right, bottom) in one grey."""
        img = img.copy()
        gray = np.random.default_rng(seed).integers(256)
        for left, top, right, bottom in holes:
            img[top:bottom, left:right] = gray
        return img


_OWN = {"GrayDropout": GrayDropout}
OFFERED = (*TRANSFORMS, *_OWN, *COMPOSITIONS)


def build_transform(
    entry, where: str, patch_size: int
) -> albumentations.BasicTransform | albumentations.core.composition.BaseCompose:
    """
    A transform with its arguments, or a composition with its transforms.

    albumentations only warns of unknown arguments, takes texts for numbers and falls back to its defaults where a
    check of its own fails; here all of that is an error.

    Args:
        entry: `{"transform": NAME, ARGUMENT: VALUE, ...}` as read from JSON; names of OpenCV's constants stand for
            them, and `"patch_size"` for that number.
        where: what a message calls this entry.
        patch_size: side of the run's patches in pixels.

    Raises:
        InputError: the transform or one of its arguments isn't known, is missing, or is of a wrong type or range.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("transform"), str):
        raise InputError(f'{where} is {_short(entry)}; expected a mapping {{"transform": NAME, "p": NUMBER, ...}}')
    name = entry["transform"]
    if name not in OFFERED:
        hint = f": {INSTEAD[name]}" if name in INSTEAD else did_you_mean(name, OFFERED)
        raise InputError(f"{where}: {name!r} is none of the transforms that are offered{hint}")
    kind = _OWN.get(name) or getattr(albumentations, name)
    where = f"{where}, {name}"
    parameters = inspect.signature(kind).parameters
    given = {key: value for key, value in entry.items() if key != "transform"}
    for key in given:
        if key not in parameters:
            hint = did_you_mean(key, parameters) or f"; it takes {', '.join(parameters)}"
            raise InputError(f"{where}: unknown key {key!r}{hint}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given:
            raise InputError(f"{where}: {key} is missing")
    if name in COMPOSITIONS:
        return _composition(kind, given, where, patch_size)
    arguments = {key: _resolved(key, value, where, patch_size) for key, value in given.items()}
    return _built(kind, arguments, given, where)


def _composition(kind: type, given: Mapping, where: str, patch_size: int):
    parts = given["transforms"]
    if not isinstance(parts, list) or not parts:
        raise InputError(f"{where}: transforms is {_short(parts)}; expected a list of transforms")
    transforms = [
        build_transform(part, f"{where}, transform {number}", patch_size) for number, part in enumerate(parts, 1)
    ]
    expected = {
        "p": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
        "n": (
            f"a whole number from 1 to {len(parts)}",
            lambda value: type(value) is int and 1 <= value <= (value if given.get("replace") else len(parts)),
        ),
        "replace": ("true or false", lambda value: isinstance(value, bool)),
    }
    for key, value in given.items():
        if key in expected and not expected[key][1](value):
            raise InputError(f"{where}: {key} is {_short(value)}; expected {expected[key][0]}")
    if kind is albumentations.OneOf and not any(transform.p for transform in transforms):
        raise InputError(f"{where}: p of all its transforms is 0; they are weights, of which one has to be larger")
    return kind(**{**given, "transforms": transforms})


def _resolved(key: str, value, where: str, patch_size: int):
    """A value with OpenCV's constants and the patch size in place of their names."""
    if key not in _CONSTANTS:
        return _with_patch_size(value, patch_size)
    if key == "interpolation_pair" and isinstance(value, Mapping):
        return {part: _constant(f"{key}.{part}", name, _CONSTANTS[key], where) for part, name in value.items()}
    return _constant(key, value, _CONSTANTS[key], where)


def _constant(key: str, name, names: tuple[str, ...], where: str) -> int:
    if name not in names:
        raise InputError(f"{where}: {key} is {_short(name)}; expected one of {', '.join(names)}")
    return getattr(cv2, name)


def _with_patch_size(value, patch_size: int):
    if isinstance(value, list):
        return [_with_patch_size(part, patch_size) for part in value]
    return patch_size if value == PATCH_SIZE else value


def _built(kind: type, arguments: dict, given: Mapping, where: str) -> albumentations.BasicTransform:
    try:
        with warnings.catch_warnings():
            # What albumentations warns of while it builds a transform is that it does something else than it was told.
            warnings.simplefilter("error", UserWarning)
            _check_strictly(kind, arguments)
            return kind(**arguments)
    except ValidationError as error:
        key, reason = _first_reason(error)
        what = f"{key} is {_short(given[key])}" if key in given else "its arguments don't fit"
        raise InputError(f"{where}: {what}; {reason}") from error
    except (UserWarning, ValueError, TypeError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}") from error


def _check_strictly(kind: type, arguments: dict) -> None:
    """Checks by albumentations' own schema, but "3" is no number and 1.0 no whole one."""
    defaults = {}
    for part in reversed(kind.__mro__):
        if "__init__" in vars(part):
            parameters = inspect.signature(part.__init__).parameters.values()
            defaults |= {each.name: each.default for each in parameters if each.default is not each.empty}
    values = {**defaults, **arguments, "strict": False}
    schema = kind.InitSchema
    # JSON has no tuples; only as JSON does the strict schema take lists for them.
    schema.model_validate_json(json.dumps({key: values[key] for key in schema.model_fields}), strict=True)


def _first_reason(error: ValidationError) -> tuple[str | None, str]:
    """The first argument that doesn't fit, and why; a value that may be of several types has a reason for each."""
    details = error.errors()
    key = details[0]["loc"][0] if details[0]["loc"] else None
    reasons = [detail["msg"] for detail in details if not key or detail["loc"][0] == key]
    texts = [reason.removeprefix("Value error, ").replace("Input should be", "expected") for reason in reasons]
    return key, " or ".join(dict.fromkeys(texts))


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value, length: int = 80) -> str:
    text = json.dumps(value)
    return text if len(text) <= length else text[: length - 1] + "…"
