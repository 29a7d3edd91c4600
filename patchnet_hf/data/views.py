"""Captures of an Arrow dataset as the views that the model sees: random patches to train, a grid to evaluate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import PIL.Image
import torch
from datasets import Dataset, Image, IterableDataset

from ..errors import InputError
from ..models.image_processing_patchnet import (
    PatchNetImageProcessor,
    crop_face,
    face_region,
    pad_to_patch,
    resize_image,
)
from .encoded_image import DecodedImage, EncodedImage
from .schema import BONA_FIDE, SPOOF

if TYPE_CHECKING:  # albumentations takes more than a second to import
    from .augmentation import Augmentation

TRAINING_VIEWS = 2


def encoded_images(dataset: Dataset | IterableDataset, columns: Sequence[str]) -> Dataset | IterableDataset:
    """`dataset` with these columns alone, its images left as encoded bytes."""
    return dataset.select_columns(list(columns)).cast_column("image", Image(decode=False))


def decode_capture(image: dict | PIL.Image.Image) -> np.ndarray:
    """An `Image(decode=False)` value, `{"bytes": ..., "path": ...}`, or a decoded one, as `(H, W, 3)` uint8 RGB."""
    opened = open_capture(image)
    return opened.region(0, 0, opened.height, opened.width)


def open_capture(image: dict | PIL.Image.Image) -> EncodedImage | DecodedImage:
    """An `Image(decode=False)` value, or a decoded one, of which regions can be asked for."""
    if isinstance(image, PIL.Image.Image):
        # A stream that was filtered or mapped decodes its images whatever it's cast to.
        return DecodedImage(np.asarray(image.convert("RGB")))
    return EncodedImage(image_bytes(image))


def image_bytes(image: dict | None) -> bytes:
    """
    The bytes of the file of an `Image(decode=False)` value.

    Raises:
        OSError: they lie in another file, which can't be read.
        ValueError: there is neither a file nor its bytes.
    """
    if image is None or (image["bytes"] is None and not image["path"]):
        raise ValueError("it has no image")
    if image["bytes"] is not None:
        return image["bytes"]
    if "://" not in image["path"]:
        return Path(image["path"]).read_bytes()
    # Of a stream, where it comes from: `hf://datasets/...`, or `zip://name::hf://...`.
    with fsspec.open(image["path"], "rb") as file:
        return file.read()


@contextmanager
def reading_capture(image: dict | PIL.Image.Image | None, capture: str) -> Iterator[None]:
    """
    A block that reads and decodes an image of a dataset.

    Args:
        image: as for [`open_capture`].
        capture: which one it is, for the message.

    Raises:
        InputError: it can't be read or decoded.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:
        path = image.get("path") if isinstance(image, dict) else None
        raise InputError(f"{capture}{f' ({path})' if path else ''}: {reading_failure(error)}") from error


def reading_failure(error: OSError | ValueError) -> str:
    """Why an image of a dataset can't be read, and what to know of a dataset that holds paths alone."""
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError):
        reason += "; lists, folders and datasets made with --no-embed need their images to stay where they were"
    return reason


@dataclass(frozen=True)
class PatchPlace:
    """Where a patch lies in a face, in pixels, and how it is flipped (first) and turned by quarters."""

    top: int
    left: int
    flip: bool
    turns: int

    @classmethod
    def draw(
        cls, height: int, width: int, patch_size: int, random: np.random.Generator, rotate: bool = True
    ) -> "PatchPlace":
        """A random one in a face of `height` x `width` pixels, both at least `patch_size`."""
        top = int(random.integers(height - patch_size + 1))
        left = int(random.integers(width - patch_size + 1))
        return cls(top, left, random.random() < 0.5, int(random.integers(4)) if rotate else 0)

    def cut(self, face: np.ndarray, patch_size: int) -> np.ndarray:
        """The patch `(P, P, 3)` of `face` `(H, W, 3)`, contiguous."""
        patch = face[self.top : self.top + patch_size, self.left : self.left + patch_size]
        if self.flip:
            patch = patch[:, ::-1]
        return np.ascontiguousarray(np.rot90(patch, self.turns))

    def within(self, top: int, left: int) -> "PatchPlace":
        """The same place, counted from another corner."""
        return PatchPlace(self.top - top, self.left - left, self.flip, self.turns)


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
    return PatchPlace.draw(*face.shape[:2], patch_size, random, rotate).cut(face, patch_size)


def random_patches(
    image: EncodedImage | DecodedImage,
    region: tuple[int, int, int, int],
    patch_size: int,
    random: np.random.Generator,
    count: int = TRAINING_VIEWS,
) -> list[np.ndarray]:
    """
    As many calls of [`random_patch`] on a region of an image, of which no more than they need is decoded.

    Args:
        image: a capture.
        region: `(top, left, bottom, right)` of its face; padded by reflection where it is smaller than a patch.
        patch_size, random: as there.
        count: number of patches.
    """
    top, left, bottom, right = region
    if min(bottom - top, right - left) < patch_size:
        face = pad_to_patch(image.region(*region), patch_size)
        return [random_patch(face, patch_size, random) for _ in range(count)]
    places = [PatchPlace.draw(bottom - top, right - left, patch_size, random) for _ in range(count)]
    first_row, first_column = min(place.top for place in places), min(place.left for place in places)
    needed = image.region(
        top + first_row,
        left + first_column,
        top + max(place.top for place in places) + patch_size,
        left + max(place.left for place in places) + patch_size,
    )
    return [place.within(first_row, first_column).cut(needed, patch_size) for place in places]


def training_item(
    row: dict,
    label: int,
    processor: PatchNetImageProcessor,
    random: np.random.Generator,
    augmentation: "Augmentation | None" = None,
    capture: str = "a training capture",
) -> dict:
    """
    Two random views of one capture.

    Args:
        row: `image` as encoded bytes and `face_box`.
        label: patch-type id.
        processor: its mode, patch size and face expansion shape the views.
        random: source of the views.
        augmentation: makes the views of the face, instead of the processor's mode.
        capture: which one it is, for messages.

    Returns:
        `{"pixel_values": (2, P, P, 3) uint8, "labels": label}`.

    Raises:
        InputError: the image can't be read or decoded.
    """
    by_patches = augmentation is None and processor.mode == "patches"
    with reading_capture(row["image"], capture):
        image = open_capture(row["image"])
        region = face_region(image.height, image.width, row["face_box"], processor.face_expand)
        if by_patches:
            views = random_patches(image, region, processor.patch_size, random)
        else:
            face = image.region(*region)
    if augmentation is not None:
        return {"pixel_values": augmentation.views(face, random, TRAINING_VIEWS), "labels": label}
    if not by_patches:
        # A face photographed upright isn't turned where it can be recognised.
        face = resize_image(face, processor.resize_size, processor.resampling)
        views = [random_patch(face, processor.patch_size, random, rotate=False) for _ in range(TRAINING_VIEWS)]
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
        augmentation: makes the views of the face, instead of the processor's mode; tried on the first capture.

    Attributes:
        dataset: as given.
        attack_types: names of the attack types, `"bonafide"` for live captures before them; a position is an id.

    Items: `{"pixel_values": (2, P, P, 3) uint8, "labels": int, "attack_types": int}`.

    Raises:
        InputError: the image of an item can't be read or decoded.
    """

    def __init__(
        self,
        dataset: Dataset,
        processor: PatchNetImageProcessor,
        patch_types: Sequence[str],
        seed: int = 0,
        augmentation: "Augmentation | None" = None,
    ):
        self.dataset = dataset
        self.processor = processor
        self.seed = seed
        self.augmentation = augmentation
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
        self._rows = encoded_images(dataset, ["image", "face_box", "patch_type", "label", "attack_type", "source"])
        if augmentation is not None and len(self._rows):
            first = self._rows[0]
            with reading_capture(first["image"], self._name(0, first)):
                face = crop_face(decode_capture(first["image"]), first["face_box"], processor.face_expand)
            augmentation.check(face)

    def set_epoch(self, epoch: int):
        """Draws other views from now on, in workers that run already, too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict]:
        return (self[index] for index in range(len(self)))

    def _name(self, position: int, row: dict) -> str:
        return f"training capture {position} of {row['source']}"

    def __getitem__(self, index: int) -> dict:
        position = int(index) % len(self)
        row = self._rows[position]
        name = self._name(position, row)
        random = np.random.default_rng((self.seed, self._epoch.item(), int(index)))
        attack_type = self._attack_ids[row["attack_type"]] if row["label"] == SPOOF else 0
        label = self._type_ids[row["patch_type"]]
        return {
            **training_item(row, label, self.processor, random, self.augmentation, name),
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

    Raises:
        InputError: the image of an item can't be read or decoded.
    """

    def __init__(self, dataset: Dataset, processor: PatchNetImageProcessor):
        self.processor = processor
        self.labels = np.asarray(dataset["label"][:], dtype=np.int64)
        self.attack_types = list(dataset["attack_type"][:])
        self._rows = encoded_images(dataset, ["image", "face_box", "source"])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict:
        row = self._rows[int(index)]
        with reading_capture(row["image"], f"evaluated capture {int(index)} of {row['source']}"):
            image = open_capture(row["image"])
            region = face_region(image.height, image.width, row["face_box"], self.processor.face_expand)
            face = image.region(*region)
        return {"pixel_values": self.processor.views(face)}
