"""What a model's card says of its training besides counts and numbers."""

from ..text_table import shown_threshold
from .card_tables import listed_names
from .evaluation_folder import POOLED
from .markdown import escaped
from .model_folder import ModelFolder


def simulated_text(folder: ModelFolder) -> str | None:
    """A warning where the record says that captures were simulated."""
    sets = {"train": folder.training_set, **folder.evaluation_sets} if folder.training_set else {}
    marked = {name: counts["simulated"] for name, counts in sets.items() if counts.get("simulated")}
    if not marked:
        return None
    if all(counts.get("simulated") == counts.get("captures") for counts in sets.values()):
        return (
            "All captures that this model was trained and measured on in its training are simulated: drawn by a "
            "program, no photographs of anybody. The figures show that the software works. They say nothing about "
            "real faces or real attacks, which the model isn't meant for."
        )
    shown = ", ".join(f"{count} of {sets[name]['captures']} in {escaped(name)}" for name, count in marked.items())
    return f"Some captures are simulated, drawn by a program: {shown}. Figures on them say nothing about real attacks."


def training_results_text(folder: ModelFolder) -> str:
    """At which threshold a training has measured at its end, and what these numbers are worth."""
    metrics = folder.metrics or {}
    threshold = next(
        (value for key, value in metrics.items() if key.endswith("_threshold") and "eer" not in key), None
    )
    sentences = ["Measured by the training itself, with the weights that were kept."]
    if threshold is not None:
        at = f"Accepted as live at P(live) ≥ {shown_threshold(threshold)}"
        now = folder.decision_threshold
        sentences.append(
            f"{at}."
            if threshold == now and folder.config.get("calibration") is None
            else f"{at}, before calibration and threshold were set to what they are now."
        )
    if folder.run is None:
        sentences.append("Whether these sets had a part in choosing the checkpoint isn't recorded.")
    elif best := folder.run.get("best"):
        which = [name for name in folder.evaluation_sets if chose_checkpoint(name, folder)]
        of = "these sets" if len(which) == len(folder.evaluation_sets) > 1 else listed_names(which)
        sentences.append(
            f"The checkpoint was chosen by {escaped(best['metric'])}, the error on {of}, which therefore looks better "
            "here than on captures that had no part in it."
        )
    else:
        sentences.append("The last checkpoint was kept, so these sets had no part in choosing it.")
    sentences.append(
        "In brackets are 95 % confidence intervals by Wilson, over images taken to be independent; ACER, EER and AUC "
        "have none here."
    )
    return " ".join(sentences)


def chose_checkpoint(name: str, folder: ModelFolder) -> bool:
    """Whether a set had a part in the choice of the checkpoint that was kept."""
    metric = ((folder.run or {}).get("best") or {}).get("metric") or ""
    # Of sets called near and near_2, eval_near_2_acer is of the second.
    named = [known for known in (*folder.evaluation_sets, POOLED) if metric.startswith(f"eval_{known}_")]
    return bool(named) and max(named, key=len) in (name, POOLED)


def data_remarks(folder: ModelFolder) -> list[str]:
    """What a reader has to know of the sets of captures."""
    train, remarks, others = folder.training_set, [], []
    if missing := train.get("without_subject"):
        some = "No training capture names its person" if missing == train["captures"] else (
            f"{missing} of {train['captures']} training captures don't name their person"
        )  # fmt: skip
        if folder.evaluation_sets:
            remarks.append(f"{some}, so it can't be told whether evaluation sets show the same persons.")
    for name, counts in folder.evaluation_sets.items():
        shared = counts.get("shared_with_train") or {}
        parts = [
            f"{shared[key]} {noun}"
            for key, noun in (("captures", "identical captures"), ("subjects", "persons"))
            if shared.get(key)
        ]
        if parts:
            remarks.append(
                f"{escaped(name)} shares {' and '.join(parts)} with the training set: its error rates look better "
                "than those of new persons."
            )
        elif not missing and counts.get("subjects") and not counts.get("without_subject"):
            others.append(name)
    if others:
        verb = "shows" if len(others) == 1 else "show"
        remarks.append(f"{listed_names(others)} {verb} other persons than the training set.")
    return remarks
