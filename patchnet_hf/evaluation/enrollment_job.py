"""The job behind scripts/enroll.py."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..data.loading import load_split
from ..data.views import EvaluationViews, encoded_images
from ..errors import InputError
from ..inference.references import References, enroll, read_views, weights_fingerprint
from ..inference.scorers import Scorer, load_scorer
from ..metrics.operating_point import Criterion
from ..text_table import text_table
from .enrollment import (
    EmbeddedSet,
    Trial,
    chosen_device_name,
    develop,
    device_names,
    draw_rows,
    embed_dataset,
    try_references,
)


@dataclass(frozen=True)
class Enrolled:
    """
    What was written.

    Attributes:
        references: as in the file.
        path: the file.
        trial: what other choices bring, where it was asked for.
        compared_at: where the thresholds of the trial are from, in words.
    """

    references: References
    path: Path
    trial: Trial | None
    compared_at: str


def enroll_device(
    model: str,
    live: Sequence[str] = (),
    attack: Sequence[str] = (),
    dataset: str | None = None,
    device: str | None = None,
    count: int = 5,
    attack_count: int = 0,
    seed: int = 0,
    threshold_on: str | None = None,
    criterion: str = "eer",
    trials: int = 0,
    output: str | None = None,
    overwrite: bool = False,
    revision: str | None = None,
    batch_size: int = 8,
    progress: Callable[[str, Iterable], Iterable] = lambda name, batches: batches,
) -> Enrolled:
    """
    Writes references of a device, from image files or drawn from a dataset.

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
    files = [*live, *attack]
    if twice := sorted({file for file in files if files.count(file) > 1}):
        raise InputError(f"{twice[0]} is given twice; references are compared with one another")
    development = None if threshold_on is None else load_split(threshold_on)
    drawn = None if dataset is None else load_split(dataset)
    if drawn is not None:
        device = chosen_device_name(*drawn, device)
    path = reference_file(model, device, output, overwrite)
    scorer = load_scorer(model, revision)
    weights_fingerprint(scorer)

    def embedded(name: str, captures: Dataset) -> EmbeddedSet:
        return embed_dataset(scorer, captures, name, batch_size, lambda batches: progress(name, batches))

    if drawn is None:
        labels = [1] * len(live) + [0] * len(attack)
        references = enroll(scorer, read_views(scorer, files), labels, files, device)
    else:
        name, captures = drawn
        captures = captures.select(np.flatnonzero(device_names(captures) == device))
        references = _enroll_rows(scorer, captures, draw_rows(captures, name, count, attack_count, seed), device)
    seen = None
    if development is not None:
        seen = embedded(*development)
        references = develop(references, seen, scorer.config.scale, chosen)
    trial = None
    if trials:
        trial = try_references(scorer, references, embedded(name, captures), chosen, seen, trials, seed)
    references.save(path)
    at = "the model's own threshold" if seen is None else f"thresholds chosen on {seen.name} ({chosen})"
    return Enrolled(references, path, trial, at)


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


def trial_table(enrolled: Enrolled) -> str:
    """Mean and standard deviation over choices, of the model alone and with references, and of the difference."""
    trial = enrolled.trial
    rows = []
    for name in ("acer", "eer", "auc"):
        before, after = 100 * trial.before[name], 100 * trial.after[name]
        cells = [f"{values.mean():.2f} ± {values.std():.2f}" for values in (before, after)]
        change = after - before
        rows.append([f"{name.upper()} %", *cells, f"{change.mean():+.2f} ± {change.std():.2f}"])
    table = text_table(["", "model alone", "with references", "change"], rows)
    sizes = trial.captures
    captures = f"{sizes.min()} to {sizes.max()}" if sizes.min() < sizes.max() else str(sizes.min())
    references = enrolled.references
    return (
        f"{len(sizes)} choices of {references.live_count} live and {references.attack_count} attack references, mean "
        f"and standard deviation over them,\non {captures} captures of other persons; ACER at "
        f"{enrolled.compared_at}\n\n{table}"
    )


def _enroll_rows(scorer: Scorer, dataset: Dataset, rows: list[int], device: str) -> References:
    captures = dataset.select(rows)
    views = EvaluationViews(captures, scorer.processor)
    try:
        pixels = [views[index]["pixel_values"] for index in range(len(views))]
    except (OSError, ValueError) as error:
        raise InputError(f"a chosen capture can't be decoded: {error}") from error
    names = [image["path"] or "" for image in encoded_images(captures, ["image"])["image"][:]]
    return enroll(scorer, pixels, views.labels, names, device)
