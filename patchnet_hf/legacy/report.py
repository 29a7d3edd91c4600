"""What a conversion did, as text."""

from ..text_table import counted, text_table
from .conversion import TRAINING_FILE, Conversion

LINEAR = (
    "rescaling linear isn't carried over: it clips either class at the 95th percentile of its scores on a data set, "
    "which the checkpoint doesn't hold, and ties all captures beyond it; scripts/calibrate.py fits a calibration that "
    "keeps the ranking"
)


def conversion_report(conversion: Conversion) -> str:
    """The lines that tell what was mapped, and what of the configuration was dropped and why."""
    checkpoint, config = conversion.checkpoint, conversion.config
    epoch = "" if checkpoint.epoch is None else f", saved after epoch {checkpoint.epoch}"
    merged = ", branches merged" if config.backbone_kwargs.get("inference_mode") else ""
    rows = [(name, f"{count:,}", f"{size:,}") for name, (count, size) in conversion.parts.items()]
    rows.append(("total", *(f"{sum(column):,}" for column in zip(*conversion.parts.values(), strict=True))))
    lines = [
        f"{conversion.configuration.base} of {checkpoint.origin}{epoch} -> {config.backbone} of timm{merged}",
        "",
        text_table(("part", "tensors", "numbers"), rows),
        "",
        "every weight of the model is from the checkpoint, and every weight of the checkpoint is used",
    ]
    if conversion.mapped.computed:
        lines.append(f"{counted(len(conversion.mapped.computed), 'index buffer')} left out: timm computes them")
    if conversion.turned:
        lines.append(f"turned from BGR to RGB: {', '.join(conversion.turned)}")
    else:
        lines.append("nothing turned from BGR to RGB: the original reads images as RGB")
        lines.append("faces are resized by areas, nearest to Pillow's antialiasing there: scores differ a little")
    if config.calibration is not None:
        lines.append(f"sigmoid(0.1 x) as calibration: {config.calibration['scale']:.6g} times the log-odds")
    if conversion.rescaling == "linear":
        lines.append(LINEAR)
    training = conversion.training
    lines += ["", f"{TRAINING_FILE}: {counted(len(training.carried), 'value')} carried over, not carried over:"]
    lines += [f"  {key} = {value}: {reason}" for key, (value, reason) in training.dropped.items()] or ["  nothing"]
    if training.command:
        lines += ["", f"its data set: {training.command}"]
    return "\n".join(lines)
