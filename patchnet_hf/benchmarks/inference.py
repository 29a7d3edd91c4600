"""The job behind `scripts/benchmark.py infer`: the same batches by every way to run a model, in turn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..errors import InputError, first_line
from ..inference.scorers import chosen_device
from ..training.compilation import quiet_compiler
from .agreement import mismatch
from .inference_result import Comparison, InferenceBenchmark, Row
from .inference_settings import BASELINE, InferenceSettings
from .machine import Machine, torch_threads
from .memory import peak_memory
from .pictures import noise_pictures
from .subject import Subject
from .timing import interleaved
from .variants import Batch, Unavailable, Variant, VariantMaker, log_odds_of

# Pictures that every variant's answers are checked on.
CHECKED = 8
PROCESSOR = "image processor"
# ONNX Runtime keeps what it has taken, so that only its first calls show it. Of the others the first calls compile, or
# import, and a later one shows what a batch takes.
KEEP_MEMORY = ("onnx", "int8")

Progress = Callable[[str], None]


def measure_inference(
    subject: Subject, settings: InferenceSettings | None = None, progress: Progress = lambda doing: None
) -> InferenceBenchmark:
    """
    Measures how fast a model answers, by each way to run it.

    A way is timed only once its answers have been found to be those of PyTorch in float32 on the processor; what can't
    run here, or answers otherwise, is reported with the reason.

    Args:
        subject: the model.
        settings: what is compared.
        progress: is told what is done next.

    Raises:
        InputError: there is no such device, the image processor makes no such number of patches, or the model can't
            take them.
    """
    settings = settings or InferenceSettings()
    chosen_device(settings.device)
    grids = [math.isqrt(count) for count in settings.patches or (subject.patches,)]
    if subject.processor.mode != "patches" and grids != [1]:
        raise InputError("patches can't be chosen: the model's image processor resizes a face to a single one")
    threads = settings.used_threads
    machine = Machine.here(threads, settings.device)
    comparisons = []
    with torch_threads(threads), TemporaryDirectory() as folder:
        for grid in grids:
            work = Path(folder) / str(grid)
            work.mkdir(exist_ok=True)
            maker = VariantMaker(subject.gridded(grid), threads, work, settings.device)
            comparisons += [_compare(maker, captures, settings, progress) for captures in settings.captures]
    return InferenceBenchmark(subject, settings, machine, tuple(comparisons))


def _compare(maker: VariantMaker, captures: int, settings: InferenceSettings, progress: Progress) -> Comparison:
    """All variants on batches of so many captures."""
    pictures = noise_pictures(captures * math.ceil(CHECKED / captures))
    starts = range(0, len(pictures), captures)
    batches = [Batch.of(pictures[start : start + captures], maker.subject, maker.device) for start in starts]
    expected = _expected(maker.subject, batches)
    rows, variants = [], {}
    for name in settings.compared:
        progress(f"checking {name}")
        try:
            with quiet_compiler():
                variant = getattr(maker, name)()
                given, memory = _answers_and_memory(variant, batches, maker.device)
        except Unavailable as error:
            rows.append(Row(name, reason=str(error)))
            continue
        difference = float(np.abs(given - expected).max())
        reason = mismatch(expected, given, variant.tolerance, maker.subject.scale)
        if name in KEEP_MEMORY:
            # PyTorch, which is asked on a GPU, doesn't know of ONNX Runtime's there.
            memory = memory if maker.device == "cpu" else None
        elif reason is None:
            memory = peak_memory(partial(variant.run, batches[0]), maker.device)
        known = difference if math.isfinite(difference) else None
        rows.append(Row(name, difference=known, reason=reason, memory=memory))
        if reason is None:
            variants[name] = variant
    if BASELINE not in variants:
        raise InputError(f"PyTorch in float32 can't be measured on this device: {rows[0].reason}")
    processor, batch = maker.subject.processor, batches[0]
    calls = {name: lambda variant=variant: variant.run(batch) for name, variant in variants.items()}
    calls[PROCESSOR] = lambda: processor(batch.pictures, return_tensors="pt")
    progress(f"timing {len(calls)} calls, {settings.repeats} times in turn")
    timings = interleaved(calls, settings.repeats, settings.warm_up)
    timed = [replace(row, timing=timings.get(row.variant)) for row in rows]
    return Comparison(captures, batch.pixel_values.shape[1], tuple(timed), timings[PROCESSOR])


@torch.inference_mode()
def _expected(subject: Subject, batches: Sequence[Batch]) -> np.ndarray:
    """Live log-odds `(N,)` of all captures, by PyTorch in float32 on the processor."""
    subject.check_patches()
    return log_odds_of(torch.cat([subject.model(batch.pixel_values.cpu()).logits for batch in batches]))


def _answers_and_memory(variant: Variant, batches: Sequence[Batch], device: str) -> tuple[np.ndarray, int | None]:
    """Live log-odds `(N,)` of all captures, and the most memory that it took to get them, in bytes.

    Raises:
        Unavailable: the variant can't run here.
    """
    given = []
    memory = peak_memory(lambda: given.append(_answers(variant, batches)), device)
    return given[0], memory


def _answers(variant: Variant, batches: Sequence[Batch]) -> np.ndarray:
    """Live log-odds `(N,)` of all captures, in float64.

    Raises:
        Unavailable: the variant can't run here.
    """
    try:
        return np.concatenate([variant.log_odds(variant.run(batch)) for batch in batches])
    except torch.OutOfMemoryError as error:
        raise Unavailable(f"the GPU's memory is too small for a batch: {first_line(error)}") from error
