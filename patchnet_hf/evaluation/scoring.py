"""Scoring the captures of an Arrow dataset."""

from collections.abc import Callable, Iterable

import numpy as np
from datasets import Dataset
from torch.utils.data import DataLoader

from ..data.fingerprints import capture_digest, captures_fingerprint, image_digests
from ..data.views import EvaluationViews, decode_capture, reading_failure
from ..errors import InputError
from ..inference.scorer import Scorer
from .scored_set import COLUMNS, ScoredSet

__all__ = ["image_digests", "score_dataset"]


class _FingerprintedViews(EvaluationViews):
    """[`EvaluationViews`] whose items also have `digest`, of the capture's bytes and face box, or an `error`."""

    def __init__(self, dataset: Dataset, scorer: Scorer):
        super().__init__(dataset, scorer.processor)
        self.prepare = scorer.prepare
        self.files = [(image or {}).get("path") or "" for image in self._rows.select_columns("image")["image"]]

    def __getitem__(self, index: int) -> dict:
        row = self._rows[int(index)]
        try:
            prepared = self.prepare(decode_capture(row["image"]), row["face_box"])
        except (OSError, ValueError) as error:
            path = (row["image"] or {}).get("path")
            return {"error": f"capture {index}{f' ({path})' if path else ''}: {reading_failure(error)}"}
        return {"pixel_values": prepared, "digest": capture_digest(row)}

    def fingerprint(self, digests: Iterable[bytes]) -> str:
        """Of the dataset, from the digests of its captures."""
        return captures_fingerprint(digests, self.labels, self.attack_types)


def score_dataset(
    scorer: Scorer,
    dataset: Dataset,
    name: str,
    batch_size: int = 8,
    workers: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ScoredSet:
    """
    Scores all captures of a dataset, in its order.

    Args:
        scorer: makes the views and scores them.
        dataset: Arrow dataset by the data contract.
        name: of the set.
        batch_size: captures in one pass.
        workers: processes that read and decode; 0 for none.
        progress: wraps the iteration over batches, for a progress bar.

    Raises:
        InputError: the dataset is empty, a capture can't be decoded, a score is NaN, or `batch_size` is below 1 or
            `workers` below 0.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch size is {batch_size}, workers {workers}; expected at least 1 and at least 0")
    if not len(dataset):
        raise InputError(f"{name} has no captures to evaluate")
    views = _FingerprintedViews(dataset, scorer)
    loader = DataLoader(views, batch_size, num_workers=workers, collate_fn=list)
    digests, scores, patch_scores = [], [], []
    for items in progress(loader):
        for item in items:
            if "error" in item:
                raise InputError(f"{name}: {item['error']}")
            digests.append(item["digest"])
        scored = scorer.score([item["pixel_values"] for item in items])
        scores.append(scored.log_odds)
        patch_scores.append(scored.patch_log_odds)
    scores = np.concatenate(scores)
    if missing := np.isnan(scores).sum():
        raise InputError(f"{missing} of {len(scores)} scores of {name} are not a number: the model is broken")
    return ScoredSet(
        name,
        views.files,
        scores,
        views.labels,
        views.attack_types,
        np.concatenate(patch_scores),
        {column: _texts(dataset, column) for column in COLUMNS},
        views.fingerprint(digests),
    )


def _texts(dataset: Dataset, column: str) -> list[str | None]:
    values = list(dataset[column][:])
    return [dataset.features[column].int2str(value) for value in values] if column == "patch_type" else values
