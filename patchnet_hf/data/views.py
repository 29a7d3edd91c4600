"""Captures of an Arrow dataset as the views that the model sees: random patches to train, a grid to evaluate."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from datasets import Dataset, Image, IterableDataset

from ..models.image_processing_patchnet import PatchNetImageProcessor, crop_face, pad_to_patch, resize_image
from .decoding import decode_image
from .schema import BONA_FIDE, SPOOF

TRAINING_VIEWS = 2


def encoded_images(dataset: Dataset | IterableDataset, columns: Sequence[str]) -> Dataset | IterableDataset:
    """`dataset` with these columns alone, its images left as encoded bytes."""
    return dataset.select_columns(list(columns)).cast_column("image", Image(decode=False))


def decode_capture(image: dict | PIL.Image.Image) -> np.ndarray:
    """An `Image(decode=False)` value, `{"bytes": ..., "path": ...}`, or a decoded one, as `(H, W, 3)` uint8 RGB."""
    if isinstance(image, PIL.Image.Image):
        # A stream that was filtered or mapped decodes its images whatever it's cast to.
        return np.asarray(image.convert("RGB"))
    return decode_image(image_bytes(image))


def image_bytes(image: dict) -> bytes:
    """The bytes of the file of an `Image(decode=False)` value."""
    return Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]


def random_patch(face: np.ndarray, patch_size: int, random: np.random.Generator, rotate: bool = True) -> np.ndarray:
    """
    A patch at a random position of `face`, at native resolution, flipped and turned by a multiple of 90 degrees.

    None of these moves interpolates: every value of the patch is a value of the capture.

    Args:
        face: `(H, W, 3)` uint8, at least `patch_size` on each side.
        patch_size: side P in pixels.
        random: source of the position, flip and turn.
        rotate: whether to turn.

    Returns:
        `(P, P, 3)` uint8, contiguous.
    """
    top = random.integers(face.shape[0] - patch_size + 1)
    left = random.integers(face.shape[1] - patch_size + 1)
    patch = face[top : top + patch_size, left : left + patch_size]
    if random.random() < 0.5:
        patch = patch[:, ::-1]
    if rotate:
        patch = np.rot90(patch, random.integers(4))
    return np.ascontiguousarray(patch)


def training_item(row: dict, label: int, processor: PatchNetImageProcessor, random: np.random.Generator) -> dict:
    """
    Two random views of one capture.

    Args:
        row: `image` as encoded bytes and `face_box`.
        label: patch-type id.
        processor: its mode, patch size and face expansion shape the views.
        random: source of the views.

    Returns:
        `{"pixel_values": (2, P, P, 3) uint8, "labels": label}`.
    """
    face = crop_face(decode_capture(row["image"]), row["face_box"], processor.face_expand)
    # A face photographed upright is turned in the "patches" recipe only, where no face can be recognised.
    rotate = processor.mode == "patches"
    face = face if rotate else resize_image(face, processor.resize_size, processor.resampling)
    face = pad_to_patch(face, processor.patch_size)
    views = [random_patch(face, processor.patch_size, random, rotate) for _ in range(TRAINING_VIEWS)]
    return {"pixel_values": np.stack(views), "labels": label}


class TrainingViews(torch.utils.data.Dataset):
    """
    Two random views of each capture, with its patch-type id.

    The randomness of a view depends on the seed, the epoch and the capture alone, not on workers, processes or what
    was drawn before, so that a run can be repeated and resumed exactly.

    A sampler that draws a capture several times in an epoch gets different views of it by asking for
    `index + times drawn before * len(views)`.

    Args:
        dataset: Arrow dataset by the data contract.
        processor: its mode, patch size and face expansion shape the views.
        patch_types: the model's patch types; every capture's type must be among them.
        seed: of the views.

    Attributes:
        dataset: as given.
        attack_types: names of the attack types, `"bonafide"` for live captures before them; a position is an id.

    Items: `{"pixel_values": (2, P, P, 3) uint8, "labels": int, "attack_types": int}`.
    """

    def __init__(self, dataset: Dataset, processor: PatchNetImageProcessor, patch_types: Sequence[str], seed: int = 0):
        self.dataset = dataset
        self.processor = processor
        self.seed = seed
        # In shared memory, so that workers which live on from epoch to epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        names = dataset.features["patch_type"].names
        present = set(dataset["patch_type"][:])
        missing = [names[index] for index in present if names[index] not in patch_types]
        if missing:
            raise ValueError(f"training captures have patch types {sorted(missing)} that the model doesn't know")
        self._type_ids = {index: list(patch_types).index(names[index]) for index in present}
        attacks = {
            kind for kind, label in zip(dataset["attack_type"][:], dataset["label"][:], strict=True) if label == SPOOF
        }
        self.attack_types = [BONA_FIDE, *sorted(attacks)]
        self._attack_ids = {name: index for index, name in enumerate(self.attack_types) if index}
        self._rows = encoded_images(dataset, ["image", "face_box", "patch_type", "label", "attack_type"])

    def set_epoch(self, epoch: int):
        """Draws other views from now on, in workers that run already, too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict:
        row = self._rows[int(index) % len(self)]
        random = np.random.default_rng((self.seed, self._epoch.item(), int(index)))
        attack_type = self._attack_ids[row["attack_type"]] if row["label"] == SPOOF else 0
        return {
            **training_item(row, self._type_ids[row["patch_type"]], self.processor, random),
            "attack_types": attack_type,
        }


class EvaluationViews(torch.utils.data.Dataset):
    """
    The views of each capture that its score is averaged over, in the dataset's order, with what metrics need.

    Args:
        dataset: Arrow dataset by the data contract.
        processor: makes the views.

    Attributes:
        labels: `(N,)` int64, 1 = bona fide, 0 = attack.
        attack_types: N names, `"bonafide"` for live captures.

    Items: `{"pixel_values": (V, P, P, 3) uint8}`.
    """

    def __init__(self, dataset: Dataset, processor: PatchNetImageProcessor):
        self.processor = processor
        self.labels = np.asarray(dataset["label"][:], dtype=np.int64)
        self.attack_types = list(dataset["attack_type"][:])
        self._rows = encoded_images(dataset, ["image", "face_box"])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict:
        row = self._rows[int(index)]
        return {"pixel_values": self.processor.views(decode_capture(row["image"]), row["face_box"])}
