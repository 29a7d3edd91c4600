"""A picture of what an augmentation makes of faces."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import InputError
from ..models.image_processing_patchnet import crop_face
from .augmentation import Augmentation
from .decoding import decode_image

FORMATS = (".png", ".pdf", ".svg")


def read_faces(
    paths: Sequence[str | Path], face_box: Sequence[int] | None = None, face_expand: float = 1.3
) -> dict[str, np.ndarray]:
    """
    The faces `(H, W, 3)` uint8 RGB in image files, by the files' names, or by their paths where names repeat.

    Args:
        paths: of the images.
        face_box: `(x, y, w, h)` in pixels of all images, or `None` for face crops.
        face_expand: factor on the sides of the box.

    Raises:
        InputError: a file can't be read or decoded, or the box lies outside an image.
    """
    names = [Path(path).name for path in paths]
    faces = {}
    for path, name in zip(paths, names, strict=True):
        try:
            image = decode_image(Path(path).read_bytes())
            faces[name if names.count(name) == 1 else str(path)] = crop_face(image, face_box, face_expand)
        except OSError as error:
            raise InputError(f"{path} can't be read: {error.strerror or error}") from error
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    return faces


def draw_augmentation_sheet(
    faces: dict[str, np.ndarray], augmentation: Augmentation, path: str | Path, views: int = 12, seed: int = 0
) -> None:
    """
    Writes a picture with each face and some of its views.

    Args:
        faces: `(H, W, 3)` uint8 RGB each, by what to write over it.
        augmentation: makes the views.
        path: where to; the ending says the format (`.png`, `.pdf`, `.svg`).
        views: of each face.
        seed: of the views; the views of a face don't depend on those before it.

    Raises:
        InputError: a face can't be augmented, or the file can't be written.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{path} ends in none of {', '.join(FORMATS)}")
    for face in faces.values():
        augmentation.check(face)
    columns = min(views + 1, 7)
    rows_of_a_face = math.ceil((views + 1) / columns)
    height = 0.4 + (2.0 * rows_of_a_face + 0.4) * len(faces)
    figure = Figure(figsize=(1.9 * columns, height), layout="constrained", dpi=100)
    axes = figure.subplots(rows_of_a_face * len(faces), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, (name, face) in enumerate(faces.items()):
        drawn = augmentation.views(face, np.random.default_rng((seed, number)), views)
        own = axes[number * rows_of_a_face : (number + 1) * rows_of_a_face].ravel()
        own[0].imshow(face)
        # A name may have dollar signs.
        own[0].set_title(f"{name}\n{face.shape[1]} x {face.shape[0]}", fontsize=8, fontweight="bold", parse_math=False)
        for axis, view in zip(own[1:], drawn, strict=False):
            axis.imshow(view)
    side = augmentation.patch_size
    figure.suptitle(f"{Path(augmentation.name).name}, views of {side} x {side}", fontsize=10, parse_math=False)
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from error
