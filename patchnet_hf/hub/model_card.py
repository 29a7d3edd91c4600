"""The card of a model, written from what its training, calibration and evaluations have left."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from . import model_text
from .card import Card, CardFile, card_file, marked, write_card
from .card_metadata import base_model, checked_license, checked_repo, model_metadata
from .card_pictures import det_picture, histograms_picture, picture_name
from .card_tables import results_table, sets_table, types_table
from .evaluation_folder import EvaluationFolder
from .model_folder import LEARNING_CURVE_FILE, RELIABILITY_FILE, ModelFolder
from .recipe_table import recipe_table
from .results import results_of_evaluation, results_of_training
from .templates import CITATION, render

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
    name = repo.split("/")[1] if repo else model.name
    pictures: dict[str, bytes] = {}
    evaluated = [_evaluation(evaluation, model, pictures, len(found) > 1) for evaluation in found]
    for file in (LEARNING_CURVE_FILE, RELIABILITY_FILE):
        needed = file != RELIABILITY_FILE or model.calibration is not None
        if needed and (picture := model.picture(file)) is not None:
            pictures[file] = picture
    trained = results_of_training(model.metrics, model.run) if model.metrics else []
    measured = [
        (evaluation.name if len(found) > 1 else None, result)
        for evaluation in found
        for result in results_of_evaluation(evaluation)
    ] or [(None, result) for result in trained]
    data = model_metadata(model, name, measured, license, metadata)
    run_data = (model.run or {}).get("data") or {}
    sets = {"train": run_data["train"], **run_data.get("evaluation", {})} if run_data else {}
    text = render(
        TEMPLATE,
        {
            "name": name,
            "repo": repo,
            "local": repo is None and not model.has_remote_code,
            "where": repo or f"path/to/{model.name}",
            "license": license,
            "base_model": base_model(model),
            "model": model,
            "config": model.config,
            "processor": model.processor,
            "run": model.run,
            "data": run_data,
            "sets": sets,
            "simulated": model_text.simulated_text(model.run),
            "evaluations": evaluated,
            "trained": trained,
            "pictures": pictures,
            "text": model_text,
            "sets_table": sets_table,
            "results_table": results_table,
            "types_table": types_table,
            "recipe_table": recipe_table,
            "citation": CITATION,
        },
    )
    return Card(marked(f"---\n{data.to_yaml()}\n---\n\n{text}"), pictures)


def refresh_model_card(folder: str | Path) -> CardFile:
    """
    Writes the card of a model anew after its settings have changed, if the folder's card is ours as it was written.

    Returns:
        What was there: `ABSENT` and `OTHER` are left so.

    Raises:
        InputError: the card can't be read or written.
    """
    try:
        found = card_file(folder)
    except OSError as error:
        raise InputError(f"the card in {folder} can't be read: {error}") from error
    if found is CardFile.OURS:
        write_card(model_card(folder), folder)
    return found


def _evaluation(evaluation: EvaluationFolder, model: ModelFolder, pictures: dict[str, bytes], several: bool) -> dict:
    """What the template shows of an evaluation; its pictures are added to the others."""
    results = results_of_evaluation(evaluation)
    det, histograms = None, []
    if evaluation.scores:
        taken = set(pictures)
        named = "_".join(evaluation.scores) if len(evaluation.scores) < 3 else evaluation.name
        det = picture_name("det", named, taken)
        pictures[det] = det_picture(evaluation)
        threshold = evaluation.content["operating_point"]["threshold_log_odds"]
        for name, scores in evaluation.scores.items():
            picture = picture_name("scores", name, taken)
            pictures[picture] = histograms_picture(scores, threshold)
            histograms.append((name, picture))
    return {
        "name": evaluation.name if several else None,
        "things": evaluation.things,
        "results": results,
        "point": model_text.point_sentence(evaluation, model),
        "intervals": model_text.intervals_sentence(evaluation),
        "remarks": model_text.evaluation_remarks(evaluation, model),
        "notes": [(result.name, note) for result in results for note in result.notes],
        "date": str(evaluation.content["evaluated"].get("date") or "")[:10],
        "det": det,
        "histograms": histograms,
    }
