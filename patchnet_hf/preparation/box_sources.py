"""Where the box of the face in an image is known from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..inference.face_boxes import FaceBoxes
from .box_files import Box, BoxFiles
from .face_detection import FaceDetector


class BoxSource(Protocol):
    """Tells the face box of an image: left, top, right, bottom in pixels of the image as it is seen."""

    def __call__(self, path: Path, image: np.ndarray) -> Box | None:
        """
        The box of an image; `None` when it is a face crop already.

        Args:
            path: of the image, or of the video that it is a frame of.
            image: `(H, W, 3)` uint8 RGB.

        Raises:
            ValueError: there is no box for it.
        """


class TextBoxes:
    """Boxes in text files next to the images."""

    def __init__(self, files: BoxFiles | None = None):
        self.files = files or BoxFiles()

    def __str__(self) -> str:
        return f"text files {self.files.file}"

    def __call__(self, path: Path, image: np.ndarray) -> Box:
        return self.files.read(path, image.shape[1], image.shape[0])


class ListedBoxes:
    """
    Boxes in CSV files with the columns `image_name,face_x,face_y,face_w,face_h`.

    Raises:
        InputError: a file can't be read or lacks a column.
    """

    def __init__(self, paths: Sequence[str | Path]):
        self.lists = [FaceBoxes(path) for path in paths]

    def __str__(self) -> str:
        return ", ".join(str(boxes.path) for boxes in self.lists)

    def __call__(self, path: Path, image: np.ndarray) -> Box | None:
        for boxes in self.lists:
            try:
                box = boxes(path)
            except ValueError:
                continue
            if box is None:
                return None
            x, y, w, h = box
            return x, y, x + w, y + h
        raise ValueError(f"no face box: {self} {'has' if len(self.lists) == 1 else 'have'} no row for it")


class DetectedBoxes:
    """
    Boxes of the largest face that a detector finds.

    Raises:
        InputError: the detector isn't installed.
    """

    def __init__(self):
        self.detector = FaceDetector()

    def __str__(self) -> str:
        return "dlib's detector of frontal faces"

    def __call__(self, path: Path, image: np.ndarray) -> Box:
        return self.detector(image)
