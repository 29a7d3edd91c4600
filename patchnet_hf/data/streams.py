"""Streams of captures (`datasets.IterableDataset`) as views to train on."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import datasets
import numpy as np
import torch

from ..errors import InputError
from ..models.image_processing_patchnet import PatchNetImageProcessor
from .schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, SPOOF, check_schema
from .views import encoded_images, training_item

if TYPE_CHECKING:
    from .augmentation import Augmentation


class TrainingStream(torch.utils.data.IterableDataset):
    """
    Two random views of each capture of a stream, pass after pass without end, with its patch-type id.

    A stream has no length, so the Trainer counts `max_steps` and takes the whole training for one epoch; what begins
    anew here is a pass. The stream's own `set_epoch` is told its number, which makes a shuffled stream draw another
    order. The randomness of a view depends on the seed, the pass and the capture's position in it, so a run can be
    repeated, and resumed exactly (by reading again what was read before).

    Under several processes accelerate reads and decodes in the first one and hands out parts of its batches
    (`DataLoaderDispatcher`), unless `accelerator_config={"dispatch_batches": False}` makes every process read all and
    keep its part (`IterableDatasetShard`). Workers of a `DataLoader` share the stream's shards out among themselves.

    Args:
        stream: by the data contract, with known features: `Dataset.to_iterable_dataset(num_shards=...)`,
            `load_dataset(..., streaming=True)` or the result of [`balance_stream`]. Shuffling is up to the caller.
        processor: its mode, patch size and face expansion shape the views.
        patch_types: the model's patch types; every capture's type must be among them.
        seed: of the views.
        augmentation: makes the views of the face, instead of the processor's mode.

    Attributes:
        attack_types: `["bonafide", "attack"]`; which types of attack a stream holds isn't known before it is read.

    Items: `{"pixel_values": (2, P, P, 3) uint8, "labels": int, "attack_types": int}`.

    Raises:
        InputError: the stream doesn't follow the data contract, or, when iterated over, is empty or has a patch type
            that the model doesn't know, an image that can't be read or decoded, or a face that the augmentation can't
            take.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        processor: PatchNetImageProcessor,
        patch_types: Sequence[str],
        seed: int = 0,
        augmentation: "Augmentation | None" = None,
    ):
        check_schema(stream, "training stream")
        self.processor = processor
        self.seed = seed
        self.augmentation = augmentation
        self._pass = torch.zeros((), dtype=torch.int64).share_memory_()
        self._names = stream.features["patch_type"].names
        self._type_ids = {name: index for index, name in enumerate(patch_types)}
        self.attack_types = [BONA_FIDE, DEFAULT_ATTACK_TYPE]
        self._rows = encoded_images(stream, ["image", "face_box", "patch_type", "label", "source"])

    def set_epoch(self, epoch: int):
        """The pass to start from when next iterated over, in workers that run already, too."""
        self._pass.fill_(epoch)

    def __iter__(self) -> Iterator[dict]:
        worker = torch.utils.data.get_worker_info()
        # Positions that no other worker has; a single worker's are those without workers.
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number = self._pass.item()
        while True:
            self._rows.set_epoch(number)
            position = None
            for position, row in enumerate(self._rows):
                random = np.random.default_rng((self.seed, number, first + position * step))
                label = self._type_id(row["patch_type"])
                # No position: in a shuffled stream it leads nobody to the capture.
                name = f"a training capture of {row['source']}"
                item = training_item(row, label, self.processor, random, self.augmentation, name)
                yield {**item, "attack_types": int(row["label"] == SPOOF)}
            if position is None and worker is None:
                raise InputError("the training stream is empty")
            if position is None:
                # More workers than shards.
                return
            number += 1

    def _type_id(self, patch_type: int) -> int:
        name = self._names[patch_type]
        if name not in self._type_ids:
            raise InputError(f"the training stream has patch type {name!r} that the model doesn't know")
        return self._type_ids[name]
