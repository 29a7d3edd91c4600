"""Enrolling a device: references from image files or drawn from a dataset, written into a file."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..data.loading import load_split
from ..data.views import encoded_images, image_bytes, reading_capture
from ..errors import InputError, did_you_mean
from ..inference.references import KnownCapture, References, enroll, read_captures, weights_fingerprint
from ..inference.scorers import load_scorer
from ..metrics.operating_point import Criterion
from .reference_trials import (
    EmbeddedSet,
    choose_references,
    develop,
    embed_dataset,
    trial_table,
    try_references,
)
from .scoring import image_digests
from .sets import check_disjoint


@dataclass(frozen=True)
class Enrolled:
    """
    What was written.

    Attributes:
        references: as in the file.
        path: the file.
        trial_table: what other choices bring, where it was asked for.
    """

    references: References
    path: Path
    trial_table: str | None


def enroll_device(
    model: str,
    live: Sequence[str] = (),
    attack: Sequence[str] = (),
    dataset: str | None = None,
    capture_device: str | None = None,
    *,
    count: int = 5,
    attack_count: int = 0,
    seed: int = 0,
    threshold_on: str | None = None,
    criterion: str = "eer",
    trials: int = 0,
    output: str | None = None,
    overwrite: bool = False,
    revision: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    progress: Callable[[str, Iterable], Iterable] = lambda name, batches: batches,
) -> Enrolled:
    """
    Writes references of a capture device, from image files or drawn from a dataset.

    Arguments are those of scripts/enroll.py, by the same names.

    Raises:
        InputError: an argument, the model, a capture or a dataset can't be used.
    """
    try:
        chosen = Criterion.parse(criterion)
    except ValueError as error:
        raise InputError(str(error)) from error
    if count < 1 or attack_count < 0 or trials < 0 or batch_size < 1:
        raise InputError("expected at least 1 live reference, 1 capture in a batch, 0 attacks and 0 trials")
    if dataset is not None and (live or attack):
        raise InputError("--dataset draws the captures; give it or --live IMAGE..., not both")
    if dataset is None and not live:
        raise InputError("no live references: give --live IMAGE..., or --dataset DIR:SPLIT to draw from")
    if dataset is None and trials:
        raise InputError("--trials needs captures to report on: give --dataset DIR:SPLIT")
    development = None if threshold_on is None else load_split(threshold_on)
    if dataset is None:
        known = read_captures(live, 1) + read_captures(attack, 0)
    else:
        name, captures = load_split(dataset)
        capture_device, captures = captures_of_device(name, captures, capture_device)
        if trials and development is not None:
            reported = {name: Counter(image_digests(captures, dataset))}
            check_disjoint(set(image_digests(development[1], threshold_on)), reported, {name: dataset}, threshold_on)
        known = draw_captures(name, captures, count, attack_count, seed)
    path = reference_file(model, capture_device, output, overwrite)
    scorer = load_scorer(model, revision, device)
    weights_fingerprint(scorer)

    def embedded(name: str, captures: Dataset) -> EmbeddedSet:
        return embed_dataset(scorer, captures, name, batch_size, lambda batches: progress(name, batches))

    references = enroll(scorer, known, capture_device)
    seen = None if development is None else embedded(*development)
    if seen is not None:
        references = develop(references, seen, scorer.config.scale, chosen)
    table = None
    if trials:
        trial = try_references(scorer, references, embedded(name, captures), chosen, seen, trials, seed)
        at = "the model's own threshold" if seen is None else f"thresholds chosen on {seen.scored.name} ({chosen})"
        table = trial_table(trial, references, at)
    references.save(path)
    return Enrolled(references, path, table)


def captures_of_device(name: str, dataset: Dataset, device: str | None) -> tuple[str | None, Dataset]:
    """
    The device of a dataset that is meant, and its captures; those without a device are taken as of one.

    Args:
        name: of the dataset, for messages.
        dataset: Arrow dataset by the data contract.
        device: one of its column `device`; `None` where there is but one.

    Raises:
        InputError: the device isn't there, or there are several and none is named.
    """
    devices = dataset["device"][:]
    known = sorted({held or "(none)" for held in devices})
    if device is None and len(known) > 1:
        raise InputError(f"{name} has captures of {', '.join(known)}; --capture-device says which to enrol")
    if device is not None and device not in devices:
        hint = did_you_mean(device, known)
        raise InputError(f"{name} has no captures of device {device!r} but of {', '.join(known)}{hint}")
    if device is None:
        return (devices[0] if len(dataset) else None), dataset
    return device, dataset.select([index for index, held in enumerate(devices) if held == device])


def draw_captures(name: str, dataset: Dataset, count: int, attack_count: int, seed: int = 0) -> list[KnownCapture]:
    """
    Random captures of a dataset, live ones first.

    Raises:
        InputError: there are too few, or the image of one can't be read.
    """
    labels = np.asarray(dataset["label"][:], dtype=np.int64)
    rows = np.arange(len(labels))
    chosen = choose_references(rows, labels, count, attack_count, np.random.default_rng(seed), name)
    drawn = encoded_images(dataset.select(chosen), ["image", "label", "face_box"])
    captures = []
    for index, row in zip(chosen, drawn, strict=True):
        with reading_capture(row["image"], f"{name}: capture {index}"):
            data = image_bytes(row["image"])
        captures.append(KnownCapture(row["image"]["path"] or "", data, row["label"], row["face_box"]))
    return captures


def reference_file(model: str, device: str | None, output: str | None, overwrite: bool) -> Path:
    """
    Where references go.

    Raises:
        InputError: there is no place for them, or something is there.
    """
    if output is None:
        if not Path(model).is_dir():
            raise InputError(f"{model} is no folder here; --output FILE says where the references go")
        named = "" if device is None else "-" + re.sub(r"[^\w.-]+", "_", device)
        path = Path(model) / f"references{named}.safetensors"
    else:
        path = Path(output)
        if path.suffix != ".safetensors":
            raise InputError(f"output {output} doesn't end in .safetensors")
        if not path.absolute().parent.is_dir():
            raise InputError(f"the folder of {output} doesn't exist")
    if path.is_dir():
        raise InputError(f"output {path} is a folder; expected a file")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it, --output FILE names another")
    return path
