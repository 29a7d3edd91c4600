"""How fas-patchnet prepares its batches, as a measure for the data path here."""

from collections.abc import Sequence
from pathlib import Path

import albumentations
import cv2
import numpy as np
import torch

from ..data.transforms import build_transform

# ImageNet's, in the order blue, green, red.
MEAN = np.array([0.406, 0.456, 0.485], dtype=np.float32) * 255
DEVIATION = np.array([0.225, 0.224, 0.229], dtype=np.float32) * 255


class ReferenceViews(torch.utils.data.Dataset):
    """
    Two views of each image file, as fas-patchnet makes them: the whole file is decoded to BGR by OpenCV, all
    transforms are applied to the whole image twice, and each view is normalised to float32 by itself.

    Args:
        paths: of the images.
        steps: transforms as in `configs/augmentation/medium2.json`.
        patch_size: side P of the views in pixels.

    Items: `{"pixel_values": (2, 3, P, P) float32, "labels": 0}`.
    """

    def __init__(self, paths: Sequence[Path], steps: Sequence[dict], patch_size: int):
        self.paths = list(paths)
        self._transforms = albumentations.Compose([build_transform(step, "medium2", patch_size) for step in steps])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        image = cv2.imdecode(np.fromfile(self.paths[index], np.uint8), cv2.IMREAD_COLOR)
        return {"pixel_values": torch.stack([self._view(image), self._view(image)]), "labels": 0}

    def _view(self, image: np.ndarray) -> torch.Tensor:
        view = (self._transforms(image=image)["image"].astype(np.float32) - MEAN) / DEVIATION
        return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))
