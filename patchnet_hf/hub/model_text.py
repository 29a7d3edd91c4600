"""Sentences of a model's card."""

from collections.abc import Mapping, Sequence

from ..text_table import shown_threshold
from .evaluation_folder import EvaluationFolder
from .markdown import escaped, table
from .model_folder import ModelFolder
from .names import dataset_name
from .results import Rate
from .card_tables import listed_names, shown_rate

CRITERIA = {
    "eer": "where the shares of attacks accepted and of live captures rejected are nearest to each other",
    "apcer": "as the lowest that accepts at most {share} % of the worst attack type",
    "bpcer": "as the highest that rejects at most {share} % of the live captures",
}
UNITS = {"subject": "subjects", "video": "videos", "image": "images"}


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
    point = evaluation.content["operating_point"]
    value = f"P(live) ≥ {shown_threshold(point['threshold'])}"
    if point["origin"] == "chosen":
        rates = " and ".join(
            f"{name.upper()} is {shown_rate(Rate(point['metrics'][name]))} %"
            for name in ("apcer", "bpcer")
            if point["metrics"].get(name) is not None
        )
        return (
            f"Accepted as live at {value}, a threshold chosen on {escaped(dataset_name(point['dataset']))} "
            f"{criterion_text(point['criterion'])}{f'; there {rates}' if rates else ''}. The sets reported here had no "
            "part in that choice."
        )
    if point["origin"] == "given":
        return f"Accepted as live at {value}, a threshold given beforehand."
    if point["origin"] == "references":
        return f"Accepted as live at {value}, the threshold of the reference captures."
    now = float(folder.config.get("decision_threshold", 0.5))
    if abs(now - point["threshold"]) < 1e-12:
        return f"Accepted as live at {value}, the model's own threshold."
    return (
        f"Accepted as live at {value}, the model's own threshold at that time; it has since been set to "
        f"{shown_threshold(now)}, at which these rates do not hold."
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
    """What a reader has to know of an evaluation besides its numbers."""
    remarks = []
    evaluated = evaluation.content["evaluated"]
    if "references" in evaluated["model"]:
        remarks.append(
            "Captures were scored by their similarity to known captures of the device, not by the model alone."
        )
    if evaluation.on_graph:
        remarks.append(
            f"Measured on an exported graph ({escaped(evaluated['model'].get('runs_on', ''))}), whose weights cannot be "
            "compared with those of this model."
        )
    if evaluated["model"].get("calibration") != folder.config.get("calibration"):
        remarks.append("Measured before the model was given the calibration that it has now.")
    for name, data in evaluated["data"].items():
        remarks += [f"{escaped(name)}: {text}." for text in relations(data.get("fingerprint"), folder)]
        if left_out := data.get("left_out_as_references"):
            remarks.append(f"{escaped(name)}: {left_out} captures were left out, because they are references.")
    return remarks


def relations(fingerprint: str | None, folder: ModelFolder) -> list[str]:
    """What else a set of captures was used for, by its fingerprint."""
    if not fingerprint:
        return []
    found = []
    data = (folder.run or {}).get("data") or {}
    if (data.get("train") or {}).get("fingerprint") == fingerprint:
        found.append("**these are the captures that the model was trained on**")
    for name, counts in (data.get("evaluation") or {}).items():
        if counts.get("fingerprint") == fingerprint and chose_checkpoint(name, folder.run):
            found.append("the checkpoint was chosen by its error on this set, which therefore looks better than it is")
    calibration = folder.calibration or {}
    fitted = (calibration.get("sets") or {}).get(calibration.get("fitted_on")) or {}
    if fitted.get("fingerprint") == fingerprint:
        found.append("calibration and threshold were fitted on this set, so its error looks better than it is")
    return found


def chose_checkpoint(name: str, run: Mapping | None) -> bool:
    """Whether a set of a run had a part in the choice of its checkpoint."""
    metric = ((run or {}).get("best") or {}).get("metric")
    if not metric:
        return False
    return metric.startswith(("eval_total_", f"eval_{name}_")) or not metric.startswith("eval_")


def training_results_sentence(run: Mapping | None, folder: ModelFolder) -> str:
    """What the numbers of a training's end are worth."""
    sentences = ["Measured by the training itself, with the weights that were kept."]
    if run is None:
        sentences.append("Whether these sets had a part in choosing the checkpoint isn't recorded.")
    elif best := run.get("best"):
        sets = list((run["data"].get("evaluation")) or {})
        which = [name for name in sets if chose_checkpoint(name, run)]
        sentences.append(
            f"The checkpoint was chosen by `{best['metric']}`, the error on "
            f"{'these sets' if len(which) > 1 else listed_names(which)}, so what stands here looks better than it is on captures that had no part in it."
        )
    else:
        sentences.append("The last checkpoint was kept, so these sets had no part in choosing it.")
    sentences.append(
        "Intervals (95 %) are Wilson's, over images taken to be independent; ACER, EER and AUC have none here."
    )
    return " ".join(sentences)


def threshold_text(folder: ModelFolder) -> str:
    """The model's own threshold and where it is from."""
    threshold = float(folder.config.get("decision_threshold", 0.5))
    value = f"`decision_threshold` in the configuration is {shown_threshold(threshold)}: a capture is accepted as live when P(live) reaches it."
    if calibration := folder.calibration:
        return (
            f"{value} It was chosen on {escaped(calibration['fitted_on'])} {criterion_text(calibration['criterion'])}."
        )
    if threshold == 0.5:
        return f"{value} That is the value every model starts with; nobody has chosen it on data."
    return f"{value} How it was chosen isn't recorded."


def calibration_text(folder: ModelFolder) -> str:
    """Whether P(live) may be taken for a probability."""
    settings = folder.config.get("calibration")
    if settings is None:
        return "The probabilities are not calibrated: P(live) = 0.9 does not mean that nine of ten such captures are live."
    scale, bias = (f"{float(settings[key]):.4g}" for key in ("scale", "bias"))
    text = f"P(live) is calibrated by Platt scaling inside the model: scale {scale}, bias {bias} on the live log-odds."
    if folder.calibration is None:
        return f"{text} On which captures it was fitted isn't recorded."
    prior, fitted = folder.calibration["prior"], folder.calibration["sets"][folder.calibration["fitted_on"]]
    share = fitted["bona_fides"] / fitted["captures"] if prior is None else prior
    return (
        f"{text} It was fitted on {escaped(folder.calibration['fitted_on'])} ({fitted['captures']} captures) for data of "
        f"which {100 * share:.3g} % are live; where attacks are rarer or more frequent, the probabilities are off."
    )


def calibration_table(folder: ModelFolder) -> str:
    """Quality of the probabilities and error rates before and after calibration."""
    columns = (
        ("expected_calibration_error", "ECE", "{:.4f}".format),
        ("log_loss", "log-loss", "{:.4f}".format),
        ("brier_score", "Brier", "{:.4f}".format),
        *((key, f"{key.upper()} %", lambda share: f"{100 * share:.2f}") for key in ("acer", "apcer", "bpcer")),
    )
    rows = []
    for name, numbers in folder.calibration["sets"].items():
        fitted = " (fitted on)" if name == folder.calibration["fitted_on"] else ""
        for when in ("before", "after"):
            cells = (
                "not defined" if numbers[when][key] is None else shown(numbers[when][key]) for key, _, shown in columns
            )
            rows.append([f"{escaped(name)}{fitted}", when, str(numbers["captures"]), *cells])
    return table(["set", "", "captures", *(title for _, title, _ in columns)], rows, left=2)


def simulated_text(run: Mapping | None) -> str | None:
    """A warning where the record says that captures were simulated."""
    data = (run or {}).get("data") or {}
    sets = {"train": data.get("train") or {}, **(data.get("evaluation") or {})}
    marked = {name: counts["simulated"] for name, counts in sets.items() if counts.get("simulated")}
    if not marked:
        return None
    if all(counts.get("simulated") == counts.get("captures") for counts in sets.values()):
        return (
            "All captures that this model was trained and measured on by its training are simulated: drawn by a "
            "program, no photographs of anybody. The figures show that the software works. They say nothing about real "
            "faces or real attacks, and the model is of no use against them."
        )
    shown = ", ".join(f"{count} of {sets[name]['captures']} in {escaped(name)}" for name, count in marked.items())
    return f"Some captures are simulated, drawn by a program: {shown}. Figures on them say nothing about real attacks."


def attack_types(folder: ModelFolder) -> list[str]:
    """The attack types that the model was trained on, as far as the record says."""
    return list((((folder.run or {}).get("data") or {}).get("train") or {}).get("attack_types") or {})


def devices(folder: ModelFolder) -> list[str]:
    """The cameras that the model was trained on, as far as the record says."""
    return list((((folder.run or {}).get("data") or {}).get("train") or {}).get("devices") or {})


def shared_rows(sets: Mapping[str, Mapping]) -> Sequence[str]:
    """What evaluation sets share with the training set, a sentence for each that shares something."""
    sentences = []
    for name, counts in sets.items():
        shared = counts.get("shared_with_train") or {}
        parts = [f"{shared[key]} {key}" for key in ("captures", "subjects") if shared.get(key)]
        if parts:
            sentences.append(
                f"{escaped(name)} shares {' and '.join(parts)} with the training set: its error rates look better than those of new persons."
            )
    return sentences
