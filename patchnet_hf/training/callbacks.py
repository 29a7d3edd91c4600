"""What a person sees while training runs."""

from transformers.trainer_callback import ProgressCallback

from .report import metrics_line

SHOWN_WHILE_TRAINING = ("loss", "grad_norm", "learning_rate", "epoch")


class ConsoleCallback(ProgressCallback):
    """The progress bar, with one short line for each log and each evaluation set instead of a dictionary."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Prints what `logs` holds: losses while training, the rates of an evaluation set."""
        if not state.is_world_process_zero or self.training_bar is None or not logs:
            return
        line = self._line(logs)
        if line is not None:
            self.training_bar.write(line)

    @staticmethod
    def _line(logs: dict) -> str | None:
        sets = [name.removeprefix("eval_").removesuffix("_acer") for name in logs if name.endswith("_acer")]
        if sets:
            return f"epoch {logs.get('epoch', 0):5.2f}  {metrics_line(logs, sets[0])}"
        if "loss" not in logs:
            return None
        shown = "  ".join(f"{name} {float(logs[name]):.4g}" for name in SHOWN_WHILE_TRAINING[:3] if name in logs)
        return f"epoch {logs.get('epoch', 0):5.2f}  {shown}"
