"""What a person sees while training runs."""

from transformers.trainer_callback import ProgressCallback, TrainerCallback

from .history import BEST_PREFIX, POOLED, best_so_far, evaluations, set_numbers
from .report import best_line, metrics_line, percent

SHOWN_WHILE_TRAINING = ("loss", "grad_norm", "learning_rate", "epoch")


class LinesCallback(TrainerCallback):
    """One short line for each log and each evaluation set, for where there is no progress bar."""

    write = staticmethod(print)
    _training = False

    def on_train_begin(self, args, state, control, **kwargs):
        """What is logged from now on is of the training."""
        self._training = True
        super().on_train_begin(args, state, control, **kwargs)

    def on_train_end(self, args, state, control, **kwargs):
        """What is logged from now on is said in another way."""
        self._training = False
        super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Prints what `logs` holds: losses while training, the rates of an evaluation set."""
        line = self._line(logs, state.log_history) if state.is_world_process_zero and self._training and logs else None
        if line is not None:
            self.write(line)

    @staticmethod
    def _line(logs: dict, log_history: list[dict]) -> str | None:
        epoch = f"epoch {logs.get('epoch', 0):5.2f}"
        if (evaluated := set_numbers(logs)) is not None:
            if evaluated.name == POOLED and len({found.name for found in evaluations(log_history)}) == 2:
                # The pool of a single set, which has had its line.
                return None
            named = {f"eval_{evaluated.name}_{number}": value for number, value in evaluated.numbers.items()}
            return f"{epoch}  {metrics_line(named, evaluated.name)}"
        if any(name.startswith(BEST_PREFIX) for name in logs):
            return f"{epoch}  {best_line(best_so_far(log_history))}"
        if "loss" not in logs:
            return None
        shown = "  ".join(f"{name} {float(logs[name]):.4g}" for name in SHOWN_WHILE_TRAINING[:3] if name in logs)
        rate = f"  ACER {percent(logs['acer'])} %" if "acer" in logs else ""
        return f"{epoch}  {shown}{rate}"


class ConsoleCallback(LinesCallback, ProgressCallback):
    """The progress bar, with lines above it instead of the Trainer's dictionaries."""

    def write(self, line: str) -> None:
        """Prints above the bar while there is one."""
        if self.training_bar is not None:
            self.training_bar.write(line)
