"""Calibrating a trained model on a development set: scale and bias of its log-odds, and its decision threshold."""

import io
import json
import os
import shlex
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from datasets import Dataset
from huggingface_hub import snapshot_download

from ..cards.card import CARD_FILE, write_card
from ..cards.model_card import card_is_current, model_card
from ..cards.model_folder import LEARNING_CURVE_FILE, METRICS_FILE, RUN_FILE
from ..data.schema import LIVE, SPOOF
from ..errors import InputError
from ..file_names import CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE
from ..inference.scorer import Scorer, calibration_of
from ..inference.scorers import graph_in, load_scorer
from ..metrics import fit_platt
from ..metrics.calibration import BINS
from ..metrics.operating_point import Criterion, probability_threshold_at
from ..whole_file import whole_file
from ..whole_folder import whole_folder
from .calibration_report import DIAGRAM_FILE, RESULT_FILE, CalibrationReport, Settings
from .reliability_diagram import draw_reliability
from .scoring import image_digests, score_dataset
from .sets import check_disjoint, load_evaluation_data
from .settings import EvaluationSettings

# What a calibrated copy takes over: weights, processor, remote code, card with what it is written from, and licence.
MODEL_FILES = (
    WEIGHTS_FILE,
    PROCESSOR_FILE,
    "*.py",
    CARD_FILE,
    RUN_FILE,
    METRICS_FILE,
    LEARNING_CURVE_FILE,
    "LICENSE*",
)


def calibrate_model(
    model: str,
    development: str,
    criterion: str = "eer",
    tests: Sequence[str] = (),
    output: str | None = None,
    *,
    prior: float | None = None,
    bins: int = BINS,
    overwrite: bool = False,
    revision: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    workers: int = 0,
    progress: Callable[[str, Iterable], Iterable] = lambda name, batches: batches,
) -> tuple[CalibrationReport, Path]:
    """
    Fits scale, bias and decision threshold on a development set and writes them into the model's `config.json`.

    The fit is on the model's raw log-odds, after the averaging over views: whatever calibration the model had before
    makes no difference to the new one.

    Args:
        model: a folder, or a model id of the Hub.
        development: `DIR[:SPLIT]` to fit on.
        criterion: of the threshold, on the calibrated scores of the development set: `eer`, `apcer=0.05`,
            `bpcer=0.01`.
        tests: further `DIR[:SPLIT]` to report on.
        output: folder for a calibrated copy of the model; `None`: the model's own folder is changed.
        prior: share of live captures that probabilities are meant for; `None`: that of the development set.
        bins: of the expected calibration error.
        overwrite: replace a calibrated copy that is at `output` already.
        revision: of a model of the Hub.
        device, batch_size, workers: as for [`load_scorer`] and [`score_dataset`].
        progress: wraps the iteration over the batches of a set, given its name.

    Returns:
        What it brought, and the folder of the calibrated model.

    Raises:
        InputError: an argument, the model or a dataset can't be used.
    """
    try:
        chosen = Criterion.parse(criterion)
    except ValueError as error:
        raise InputError(str(error)) from error
    if prior is not None and not 0 < prior < 1:
        raise InputError(f"the prior is {prior}; expected a share of live captures in (0, 1), such as 0.5")
    if bins < 1:
        raise InputError(f"the number of bins is {bins}; expected at least 1")
    check_model_and_output(model, output, overwrite)
    settings = EvaluationSettings(batch_size=batch_size, workers=workers)
    data = load_evaluation_data([development, *tests], settings)
    datasets, fitted_on = data.sets, next(iter(data.sets))
    if data.repeated:
        digests = {name: Counter(image_digests(dataset, name)) for name, dataset in datasets.items()}
        check_disjoint(digests.pop(fitted_on), digests, data.given, development)
    for name, dataset in datasets.items():
        if name == fitted_on or prior is not None:
            check_both_classes(name, dataset)
    scorer = load_scorer(model, revision, device)
    before = Settings(calibration_of(scorer), scorer.config.decision_threshold)
    sets = {}
    with uncalibrated(scorer):
        for name, dataset in datasets.items():
            sets[name] = score_dataset(
                scorer, dataset, name, batch_size, workers, lambda batches, name=name: progress(name, batches)
            )
    scored = sets[fitted_on]
    after = fit_settings(fitted_on, scored.scores, scored.labels, scored.attack_types, chosen, prior)
    report = CalibrationReport(fitted_on, sets, before, after, chosen, prior, bins, scorer.description())
    return report, write_calibrated(report, model, output, revision)


def fit_settings(
    name: str,
    scores: np.ndarray,
    labels: np.ndarray,
    attack_types: Sequence[str],
    criterion: Criterion,
    prior: float | None = None,
) -> Settings:
    """
    The calibration that makes the labels of a set most likely, and the threshold that meets the criterion on it.

    Args:
        name: of the set, for messages.
        scores, labels, attack_types: of its captures; raw log-odds.
        criterion: of the threshold.
        prior: share of live captures that probabilities are meant for; `None`: that of the set.

    Raises:
        InputError: the scores can't be calibrated, or no threshold meets the criterion.
    """
    try:
        calibration = fit_platt(scores, labels, prior)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            threshold = probability_threshold_at(calibration.calibrate(scores), labels, attack_types, criterion)
    except RuntimeWarning as error:
        raise InputError(f"{name}: the threshold for {criterion} can't be written as a probability") from error
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    return Settings(calibration, threshold)


@contextmanager
def uncalibrated(scorer: Scorer) -> Iterator[None]:
    """A block in which a PyTorch model gives its raw log-odds."""
    held, scorer.config.calibration = scorer.config.calibration, None
    try:
        yield
    finally:
        scorer.config.calibration = held


def check_both_classes(name: str, dataset: Dataset) -> None:
    """
    Raises:
        InputError: a set lacks live captures or attacks.
    """
    labels = set(dataset.unique("label"))
    for label, noun in ((LIVE, "live captures (label 1)"), (SPOOF, "attacks (label 0)")):
        if label not in labels:
            raise InputError(f"{name} has no {noun}; calibration weighs both classes against one another")


def check_model_and_output(model: str, output: str | None, overwrite: bool) -> None:
    """
    Makes sure that the calibrated model has a place, before anything is scored.

    Raises:
        InputError: the model is an exported graph, or would have to be written where it can't or mustn't be.
    """
    path = Path(model)
    graph = graph_in(path) if path.is_dir() else None
    if path.suffix == ".onnx" or (graph is not None and not (path / WEIGHTS_FILE).is_file()):
        raise InputError(
            f"{model} is an exported graph, which has its calibration inside; calibrate the model that it was made "
            "from, then export that again"
        )
    if output is None:
        if not path.is_dir():
            raise InputError(f"{model} is no folder here; --output DIR says where its calibrated copy goes")
        if graph is not None:
            raise InputError(
                f"{graph} was exported with the calibration as it is now and would no longer fit {model}; remove it, "
                "or give --output DIR for a calibrated copy"
            )
        if not os.access(path, os.W_OK):
            raise InputError(f"{model} can't be written; --output DIR makes a calibrated copy elsewhere")
        return
    target = Path(output)
    if target.exists() and not target.is_dir():
        raise InputError(f"output {output} is a file; expected a new or empty folder")
    if target.exists() and path.exists() and target.samefile(path):
        raise InputError(f"output {output} is the model's own folder; leave --output out to change it there")
    if target.is_dir() and any(target.iterdir()):
        if not (target / RESULT_FILE).is_file():
            raise InputError(f"output {output} isn't empty and holds no calibrated model; name a new or empty folder")
        if not overwrite:
            raise InputError(f"output {output} holds a calibrated model already; --overwrite replaces it")
        written = (CONFIG_FILE, *MODEL_FILES, RESULT_FILE, DIAGRAM_FILE)
        names = sorted(entry.name for entry in target.iterdir())
        if foreign := [name for name in names if not any(fnmatch(name, pattern) for pattern in written)]:
            raise InputError(
                f"output {output}: beside the calibrated model there is {', '.join(foreign[:5])}"
                f"{' …' if len(foreign) > 5 else ''}, which overwriting would delete; name another folder"
            )


def write_calibrated(report: CalibrationReport, model: str, output: str | None, revision: str | None = None) -> Path:
    """
    Writes the calibrated configuration, `calibration.json` and the diagram, and the card anew where it tells what the
    folder holds and no more.

    Without `output` into the model's folder, the configuration last and at once: until then the model is as it was.

    Returns:
        The folder.

    Raises:
        InputError: it can't be written.
    """
    if output is None:
        folder = Path(model)
        of_folder = card_is_current(folder)
        try:
            _write_report(report, folder)
            _replace(folder / CONFIG_FILE, calibrated_config(folder / CONFIG_FILE, report.after).encode())
        except OSError as error:
            raise InputError(f"{model} can't be written: {error}; --output DIR makes a copy elsewhere") from error
        if of_folder:
            write_card(model_card(folder), folder)
        return folder
    source = Path(model)
    if not source.is_dir():
        patterns = [CONFIG_FILE, *MODEL_FILES]
        source = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    of_folder = card_is_current(source)
    with whole_folder(Path(output)) as folder:
        for pattern in MODEL_FILES:
            for file in source.glob(pattern):
                shutil.copyfile(file, folder / file.name)
        (folder / CONFIG_FILE).write_text(calibrated_config(source / CONFIG_FILE, report.after), encoding="utf-8")
        _write_report(report, folder)
    if of_folder:
        write_card(model_card(output), output)
    return Path(output)


def stale_card_line(folder: Path) -> str | None:
    """What to say where the card of a model that has been calibrated doesn't tell of it; `None` where it does."""
    if not (folder / CARD_FILE).exists() or card_is_current(folder):
        return None
    return (
        f"{folder / CARD_FILE} still tells of the model before: it has been edited, or tells of more than the folder "
        f"does; python scripts/write_card.py --model {shlex.quote(str(folder))} writes it anew"
    )


def calibrated_config(path: Path, settings: Settings) -> str:
    """The text of a `config.json` with other settings and all else as it was, in its order."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["calibration"] = settings.calibration._asdict()
    config["decision_threshold"] = settings.threshold
    return json.dumps(config, indent=2) + "\n"


def _write_report(report: CalibrationReport, folder: Path) -> None:
    _replace(folder / RESULT_FILE, (json.dumps(report.as_json(), indent=2) + "\n").encode())
    diagram = io.BytesIO()
    draw_reliability(report, diagram)
    _replace(folder / DIAGRAM_FILE, diagram.getvalue())


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is whole at every moment, with the permissions of the one it replaces."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)
        if path.exists():
            shutil.copymode(path, unfinished)
