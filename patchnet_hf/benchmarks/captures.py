"""JPEG files to measure with, and the Arrow dataset of them."""

import csv
from pathlib import Path

import cv2
import datasets
import numpy as np

from ..data.conversion import convert_csv

JPEG_QUALITY = 90


def jpeg_captures(folder: Path, width: int, height: int, count: int) -> tuple[list[Path], datasets.Dataset]:
    """
    Pictures as JPEG files, live and attacked in turn, and an Arrow dataset of them.

    Args:
        folder: to make them in; it doesn't exist yet.
        width, height: in pixels.
        count: how many.

    Returns:
        The files, and the dataset by the data contract, in the same order.
    """
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), _picture(width, height, number), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with open(folder / "train.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows((path.name, number % 2) for number, path in enumerate(paths))
    convert_csv([folder / "train.csv"], folder / "arrow", progress=False)
    return paths, datasets.load_from_disk(folder / "arrow")["train"]


def _picture(width: int, height: int, seed: int) -> np.ndarray:
    """Soft shapes under a sensor's noise, which come to about as many bytes as a photograph of a face."""
    random = np.random.default_rng(seed)
    shapes = cv2.resize(
        random.integers(0, 256, (12, 16, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return (shapes + random.normal(size=shapes.shape, scale=4)).round().clip(0, 255).astype(np.uint8)
