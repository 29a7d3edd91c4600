"""The card of a model, written from what its training, calibration and evaluations have left."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from .calibration_text import calibration_table, calibration_text, threshold_text
from .card import CARD_FILE, Card, marked
from .card_metadata import base_model, checked_license, checked_repo, model_metadata
from .card_pictures import det_picture, histograms_picture, picture_name
from .card_tables import TYPE_COLUMNS, results_table, sets_table, types_table
from .evaluation_folder import EvaluationFolder
from .evaluation_text import evaluation_remarks, intervals_sentence, point_sentence
from .model_folder import LEARNING_CURVE_FILE, RELIABILITY_FILE, ModelFolder
from .recipe_table import recipe_table
from .results import SetResult, results_of_evaluation, results_of_training
from .templates import CITATION, render
from .training_text import chose_checkpoint, data_remarks, simulated_text, training_results_text

TEMPLATE = "model_card.md.jinja"


def model_card(
    folder: str | Path,
    evaluations: Iterable[str | Path] = (),
    repo: str | None = None,
    license: str | None = None,
    *,
    metadata: Mapping | None = None,
) -> Card:
    """
    The card of a model.

    It is written from what is there: the model's and the image processor's configuration, and where they exist the
    record of the run, the metrics at its end, its learning curve, the result of a calibration and evaluations. What
    isn't there, the card says isn't known. It names no path, user, host or token.

    Args:
        folder: of the model.
        evaluations: folders written by `scripts/evaluate.py` with this model.
        repo: `OWNER/NAME` that the model is or will be at.
        license: identifier of the weights' licence, such as `apache-2.0`; `None`: none is stated.
        metadata: further entries of the card's YAML, such as `tags` or `datasets`.

    Returns:
        Text and pictures.

    Raises:
        InputError: `folder` holds no model, an evaluation is of another one, a file can't be read, or `repo` or
            `license` is none.
    """
    model = ModelFolder.read(folder)
    repo, license = checked_repo(repo), checked_license(license)
    found = [EvaluationFolder.read(evaluation, model) for evaluation in evaluations]
    metadata = dict(metadata or {})
    name = metadata.pop("model_name", None) or (repo.split("/")[1] if repo else model.name)
    pictures: dict[str, bytes] = {}
    evaluated = [_evaluation(evaluation, model, pictures, len(found) > 1) for evaluation in found]
    for file in (LEARNING_CURVE_FILE, RELIABILITY_FILE):
        needed = file != RELIABILITY_FILE or model.calibration is not None
        if needed and (picture := model.picture(file)) is not None:
            pictures[file] = picture
    trained = results_of_training(model.metrics, model.run) if model.metrics else []
    data = model_metadata(model, name, _measured(found, trained, model), license, metadata)
    text = render(
        TEMPLATE,
        {
            "name": name,
            "where": repo or f"path/to/{re.sub(r'[^A-Za-z0-9_.-]+', '_', model.name)}",
            "remote_code": repo is not None or model.has_remote_code,
            "license": license,
            "base_model": base_model(model),
            "config": model.config,
            "processor": model.processor,
            "run": model.run,
            "train": model.training_set,
            "filters": {key: (model.run or {"data": {}})["data"].get(key) for key in ("train_filter", "eval_filter")},
            "simulated": simulated_text(model),
            "evaluations": evaluated,
            "trained": _tables(trained, "images"),
            "training_results": training_results_text(model) if trained else None,
            "threshold": threshold_text(model),
            "calibration": calibration_text(model),
            "calibration_table": calibration_table(model) if model.calibration else None,
            "type_columns": TYPE_COLUMNS,
            "sets_table": sets_table({"train": model.training_set, **model.evaluation_sets}),
            "fingerprints": {
                name: counts["fingerprint"]
                for name, counts in {"train": model.training_set, **model.evaluation_sets}.items()
                if counts.get("fingerprint")
            },
            "data_remarks": data_remarks(model),
            "recipe": recipe_table(model.run) if model.run else None,
            "pictures": pictures,
            "citation": CITATION,
        },
    )
    return Card(marked(f"---\n{data.to_yaml()}\n---\n\n{text}"), pictures)


def card_is_current(folder: str | Path) -> bool:
    """
    Whether a folder's README.md is the card that [`model_card`] gives of the folder as it is now, and nothing else: no
    edited one, none that also tells of evaluations, a repository or a licence, and none of other settings.
    """
    try:
        return (Path(folder) / CARD_FILE).read_text(encoding="utf-8") == model_card(folder).text
    except (OSError, UnicodeDecodeError, InputError):
        return False


def _measured(
    evaluations: Sequence[EvaluationFolder], trained: Sequence[SetResult], model: ModelFolder
) -> list[tuple[str, str | None, SetResult]]:
    """The results for the metadata with the names of their sets, and of their evaluations where there are several."""
    if not evaluations:
        # Nobody who reads the metadata alone should take these for the error on captures that had no part in it.
        chosen = {result.name for result in trained if chose_checkpoint(result.name, model)}
        return [
            (f"{result.name} (chose the checkpoint)" if result.name in chosen else result.name, None, result)
            for result in trained
        ]
    return [
        (result.name, evaluation.name if len(evaluations) > 1 else None, result)
        for evaluation in evaluations
        for result in results_of_evaluation(evaluation)
    ]


def _tables(results: Sequence[SetResult], things: str) -> str:
    """Tables of the rates of sets, and of their attack types where there are any."""
    if not results:
        return ""
    by_type = any(result.attack_types for result in results)
    return "\n\n".join([results_table(results, things), *([types_table(results)] if by_type else [])])


def _evaluation(evaluation: EvaluationFolder, model: ModelFolder, pictures: dict[str, bytes], several: bool) -> dict:
    """What the template shows of an evaluation; its pictures are added to the others."""
    results = results_of_evaluation(evaluation)
    det, histograms = None, []
    if evaluation.scores:
        taken = set(pictures)
        det = picture_name(
            "det", "_".join(evaluation.scores) if len(evaluation.scores) < 3 else evaluation.name, taken
        )
        pictures[det] = det_picture(evaluation)
        threshold = evaluation.content["operating_point"]["threshold_log_odds"]
        for name, scores in evaluation.scores.items():
            picture = picture_name("scores", name, taken)
            pictures[picture] = histograms_picture(scores, threshold)
            histograms.append((name, picture))
    return {
        "name": evaluation.name if several else None,
        "sentences": f"{point_sentence(evaluation, model)} {intervals_sentence(evaluation)}",
        "tables": _tables(results, evaluation.things),
        "remarks": evaluation_remarks(evaluation, model),
        "notes": [(result.name, note) for result in results for note in result.notes],
        "det": det,
        "histograms": histograms,
    }
