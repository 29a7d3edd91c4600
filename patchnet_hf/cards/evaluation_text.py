"""What a model's card says of an evaluation besides its numbers."""

from ..text_table import shown_threshold
from .card_tables import shown_rate
from .evaluation_folder import EvaluationFolder
from .markdown import escaped
from .model_folder import ModelFolder
from .names import dataset_name
from .results import Rate
from .training_text import chose_checkpoint

CRITERIA = {
    "eer": "where the shares of attacks accepted and of live captures rejected are nearest to each other",
    "apcer": "as the lowest that accepts at most {share} % of the worst attack type",
    "bpcer": "as the highest that rejects at most {share} % of the live captures",
}
UNITS = {"subject": "persons", "video": "videos", "image": "images"}


def criterion_text(criterion: str) -> str:
    """
    How a threshold was chosen, in words.

    >>> criterion_text("apcer=0.05")
    'as the lowest that accepts at most 5 % of the worst attack type'
    """
    kind, _, share = criterion.partition("=")
    if kind not in CRITERIA:
        return f"by {escaped(criterion)}"
    return CRITERIA[kind].format(share=f"{100 * float(share):g}" if share else "")


def point_sentence(evaluation: EvaluationFolder, folder: ModelFolder) -> str:
    """At which threshold an evaluation measured, and how that came about."""
    point, now = evaluation.content["operating_point"], folder.decision_threshold
    own = "" if now == point["threshold"] else f" The model's own threshold is {shown_threshold(now)}."
    accepted = f"Accepted as live at P(live) ≥ {shown_threshold(point['threshold'])}"
    if point["origin"] == "chosen":
        found = [
            f"{name.upper()} is {shown_rate(Rate(point['metrics'][name]))} %"
            for name in ("apcer", "bpcer")
            if point["metrics"].get(name) is not None
        ]
        there = f"; there {' and '.join(found)}" if found else ""
        return (
            f"{accepted}, a threshold chosen on {escaped(dataset_name(point['dataset']))}, "
            f"{criterion_text(point['criterion'])}{there}. The sets reported here had no part in that choice.{own}"
        )
    if point["origin"] == "given":
        return f"{accepted}, a threshold given beforehand.{own}"
    if point["origin"] == "references":
        return f"{accepted}, the threshold of the reference captures."
    if now == point["threshold"]:
        return f"{accepted}, the model's own threshold."
    return (
        f"{accepted}, the model's own threshold at that time; it has since been set to {shown_threshold(now)}, at "
        "which these rates don't hold."
    )


def intervals_sentence(evaluation: EvaluationFolder) -> str:
    """What the intervals of an evaluation are."""
    content = evaluation.content
    units = {numbers["intervals_over"] for numbers in (*content["sets"].values(), content["total"])}
    over = " or ".join(
        "clips" if evaluation.things == "clips" and unit != "subject" else UNITS.get(unit, unit)
        for unit in sorted(units)
    )
    confidence = f"{100 * content['interval_settings']['confidence']:g}"
    return (
        f"In brackets are {confidence} % confidence intervals: of APCER and BPCER by Wilson over {evaluation.things}, "
        f"of the others by bootstrap over {over}."
    )


def evaluation_remarks(evaluation: EvaluationFolder, folder: ModelFolder) -> list[str]:
    """What a reader has to know so as not to think too well of the numbers."""
    remarks = []
    evaluated = evaluation.content["evaluated"]
    if "references" in evaluated["model"]:
        remarks.append(
            "Captures were scored by their similarity to known captures of the device, not by the model alone."
        )
    if evaluation.on_graph:
        remarks.append(
            f"Measured on an exported graph ({escaped(evaluated['model'].get('runs_on', ''))}), whose weights can't "
            "be compared with those of this model."
        )
    if evaluated["model"].get("calibration") != folder.config.get("calibration"):
        remarks.append("Measured with another calibration than the model has now.")
    for name, data in evaluated["data"].items():
        remarks += [f"{escaped(name)}: {text}." for text in other_uses(data.get("fingerprint"), folder)]
        if left_out := data.get("left_out_as_references"):
            remarks.append(f"{escaped(name)}: {left_out} captures were left out, because they are references.")
    return remarks


def other_uses(fingerprint: str | None, folder: ModelFolder) -> list[str]:
    """What else a set of captures has been used for, by its fingerprint."""
    if not fingerprint:
        return []
    found = []
    if folder.training_set.get("fingerprint") == fingerprint:
        found.append("**these are the captures that the model was trained on**")
    for name, counts in folder.evaluation_sets.items():
        if counts.get("fingerprint") == fingerprint and chose_checkpoint(name, folder):
            found.append("the checkpoint was chosen by the error on this set, which therefore looks better than it is")
    calibration = folder.calibration or {}
    fitted = (calibration.get("sets") or {}).get(calibration.get("fitted_on")) or {}
    if fitted.get("fingerprint") == fingerprint:
        found.append(
            "calibration and threshold were fitted on this set, whose error therefore looks better than it is"
        )
    return found
