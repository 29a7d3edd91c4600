"""What a person sees while training runs."""

from transformers.trainer_callback import ProgressCallback

from .history import BEST_PREFIX, best_so_far, set_numbers
from .report import best_line, metrics_line, percent

SHOWN_WHILE_TRAINING = ("loss", "grad_norm", "learning_rate", "epoch")


class ConsoleCallback(ProgressCallback):
    """The progress bar, with one short line for each log and each evaluation set instead of a dictionary."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Prints what `logs` holds: losses while training, the rates of an evaluation set."""
        if not state.is_world_process_zero or self.training_bar is None or not logs:
            return
        line = self._line(logs, state.log_history)
        if line is not None:
            self.training_bar.write(line)

    @staticmethod
    def _line(logs: dict, log_history: list[dict]) -> str | None:
        epoch = f"epoch {logs.get('epoch', 0):5.2f}"
        if (evaluated := set_numbers(logs)) is not None:
            named = {f"eval_{evaluated.name}_{number}": value for number, value in evaluated.numbers.items()}
            return f"{epoch}  {metrics_line(named, evaluated.name)}"
        if any(name.startswith(BEST_PREFIX) for name in logs):
            return f"{epoch}  {best_line(best_so_far(log_history))}"
        if "loss" not in logs:
            return None
        shown = "  ".join(f"{name} {float(logs[name]):.4g}" for name in SHOWN_WHILE_TRAINING[:3] if name in logs)
        rate = f"  ACER {percent(logs['acer'])} %" if "acer" in logs else ""
        return f"{epoch}  {shown}{rate}"
