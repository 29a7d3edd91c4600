"""What a model's card says of its threshold and its probabilities."""

from ..text_table import shown_threshold
from .evaluation_text import criterion_text
from .markdown import escaped, table
from .model_folder import ModelFolder

START_THRESHOLD = 0.5
COLUMNS = (
    ("expected_calibration_error", "ECE", "{:.4f}".format),
    ("log_loss", "log-loss", "{:.4f}".format),
    ("brier_score", "Brier", "{:.4f}".format),
    *((key, f"{key.upper()} %", lambda share: f"{100 * share:.2f}") for key in ("acer", "apcer", "bpcer")),
)


def threshold_text(folder: ModelFolder) -> str:
    """The model's own threshold and where it is from."""
    threshold = folder.decision_threshold
    value = (
        f"A capture is accepted as live when P(live) reaches {shown_threshold(threshold)}, the `decision_threshold` "
        "of the configuration."
    )
    if calibration := folder.calibration:
        fitted = escaped(calibration["fitted_on"])
        return f"{value} It was chosen on {fitted}, {criterion_text(calibration['criterion'])}."
    if threshold == START_THRESHOLD:
        return f"{value} Every model starts with that value; it wasn't chosen on data."
    return f"{value} How it was chosen isn't recorded."


def calibration_text(folder: ModelFolder) -> str:
    """Whether P(live) may be taken for a probability."""
    settings = folder.config.get("calibration")
    if settings is None:
        return "P(live) isn't calibrated: a value of 0.9 doesn't mean that nine of ten such captures are live."
    scale, bias = (f"{float(settings[key]):.4g}" for key in ("scale", "bias"))
    text = f"P(live) is calibrated by Platt scaling inside the model: scale {scale}, bias {bias} on the live log-odds."
    if folder.calibration is None:
        return f"{text} On which captures it was fitted isn't recorded."
    name, prior = folder.calibration["fitted_on"], folder.calibration["prior"]
    fitted = folder.calibration["sets"][name]
    share = fitted["bona_fides"] / fitted["captures"] if prior is None else prior
    return (
        f"{text} It was fitted on {escaped(name)} ({fitted['captures']} captures), for data of which "
        f"{100 * share:.3g} % are live; where attacks are rarer or more frequent than that, the probabilities are off."
    )


def calibration_table(folder: ModelFolder) -> str:
    """Quality of the probabilities and error rates of each set, before and after calibration."""
    rows = []
    for name, numbers in folder.calibration["sets"].items():
        fitted = " (fitted on)" if name == folder.calibration["fitted_on"] else ""
        for when in ("before", "after"):
            cells = (
                "not defined" if numbers[when].get(key) is None else shown(numbers[when][key])
                for key, _, shown in COLUMNS
            )
            rows.append([f"{escaped(name)}{fitted}", when, str(numbers["captures"]), *cells])
    return table(["set", "", "captures", *(title for _, title, _ in COLUMNS)], rows, left=2)
