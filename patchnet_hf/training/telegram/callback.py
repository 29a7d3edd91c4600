"""The callback that tells Telegram how a run goes."""

import logging
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_utils import has_length

from ..history import POOLED, best_of_metric
from ..learning_curve import FILE_NAME as PICTURE
from .credentials import TelegramCredentials, read_credentials
from .messages import (
    Block,
    best_line,
    duration,
    rates_table,
    reason_of,
    reported_sets,
    seconds_left,
)
from .sender import DEFAULT_PATIENCE, Patience, TelegramSender, check_credentials

logger = logging.getLogger(__name__)


class TelegramCallback(TrainerCallback):
    """
    Writes to Telegram what is trained, the rates of every evaluation, how the run ended, and its learning curve.

    Add it in the main process only. The run should stand in `with callback.reporting():`, which reports how it ends,
    a crash too, and may hold the final evaluation; without it, `on_train_end` reports the end. Training never waits
    for Telegram but for the last messages, at most `patience.flush` seconds.

    Args:
        credentials: bot and chats.
        run: what the run is called in messages.
        patience: how long to wait for what.
    """

    def __init__(self, credentials: TelegramCredentials, run: str, patience: Patience = DEFAULT_PATIENCE):
        self._credentials = credentials
        self._patience = patience
        self._run = run
        self._in_block = False
        self._forget()

    @classmethod
    def checked(cls, run: str, patience: Patience = DEFAULT_PATIENCE) -> "TelegramCallback":
        """
        A callback with the credentials of the environment or `.env`, once the server has accepted them.

        Raises:
            InputError: a variable is missing or malformed, or the server refuses the token or a chat.
        """
        credentials = read_credentials()
        check_credentials(credentials, patience)
        return cls(credentials, run, patience)

    def _forget(self) -> None:
        """The state before a run."""
        self._sender: TelegramSender | None = None
        self._training = False
        self._began: float | None = None
        self._first_step = 0
        self._picture: Path | None = None
        self._old_picture: tuple | None = None
        self._state = self._args = None
        self._final: Mapping[str, float] | None = None

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Reports how the block ends: done, stopped, or with an exception, which goes on as it was raised."""
        self._in_block = True
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            self._finish("stopped", [Block(reason_of(error)), *self._progress()])
            raise
        except BaseException as error:
            self._finish("crashed", [Block(reason_of(error), "pre"), *self._progress()])
            raise
        else:
            self._report_end()
        finally:
            self._in_block = False

    def on_train_begin(self, args, state, control, model=None, train_dataloader=None, **kwargs):
        """Says what is trained."""
        self._args, self._state, self._final = args, state, None
        self._training, self._began, self._first_step = True, time.monotonic(), state.global_step
        self._picture = Path(args.output_dir) / PICTURE
        self._old_picture = _stamp(self._picture)
        blocks = []
        if model is not None:
            network = getattr(model.config, "backbone", type(model).__name__)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            precision = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
            blocks.append(Block(f"{network}, {parameters / 1e6:.1f} M parameters, {args.device}, {precision}"))
        captures = getattr(train_dataloader, "dataset", None)
        size = f"{len(captures)} captures, " if captures is not None and has_length(captures) else ""
        batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        blocks.append(Block(f"{size}batch {batch}, {state.num_train_epochs} epochs, {state.max_steps} steps"))
        types = getattr(getattr(model, "config", None), "patch_types", None)
        if types:
            blocks.append(Block(f"patch types: {', '.join(types)}"))
        if state.global_step:
            blocks.append(Block(f"goes on from step {state.global_step}"))
        self._send("training started", blocks)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Reports a round of evaluation once all its sets are done."""
        sets = reported_sets(metrics or {})
        if sets is None:
            return
        if not self._training:
            # Of the model that is kept; part of the report of the end.
            self._final = metrics
            return
        blocks = self._progress(best=False)
        blocks += [Block(rates_table(metrics, sets), "pre"), Block(self._best())]
        left = seconds_left(time.monotonic() - self._began, self._first_step, state.global_step, state.max_steps)
        if left is not None:
            blocks.append(Block(f"time left: about {duration(left)}"))
        self._send("evaluation", blocks)

    def on_train_end(self, args, state, control, **kwargs):
        """Ends the run, unless `reporting` will do so."""
        self._training = False
        if not self._in_block:
            self._report_end()

    def _report_end(self) -> None:
        if self._state is None:
            return
        early = self._state.global_step < self._state.max_steps
        blocks = self._progress()
        final = self._final
        if final is not None:
            blocks += [Block("the model that is kept:"), Block(rates_table(final, reported_sets(final)), "pre")]
        self._finish("training stopped early" if early else "training done", blocks, picture=True)

    def _progress(self, best: bool = True) -> list[Block]:
        """How far the run has come; nothing where it has not begun."""
        if self._state is None:
            return []
        state = self._state
        took = duration(time.monotonic() - self._began)
        steps = (
            f"epoch {state.epoch or 0:.4g} of {state.num_train_epochs}, step {state.global_step} of {state.max_steps}"
        )
        blocks = [Block(f"{steps}, {took}")]
        measured = any(key.endswith("_acer") for log in state.log_history for key in log)
        return [*blocks, Block(self._best())] if best and measured else blocks

    def _best(self) -> str:
        """The best checkpoint's metric where one is chosen by a metric that was logged, else the ACER."""
        history = self._state.log_history
        chosen = self._args.metric_for_best_model or ""
        chosen = chosen if chosen.startswith("eval_") else f"eval_{chosen}"
        metrics = {f"eval_{POOLED}_acer": False, "eval_acer": False, chosen: bool(self._args.greater_is_better)}
        for metric in (chosen, f"eval_{POOLED}_acer", "eval_acer"):
            if any(metric in log for log in history):
                return best_line(metric, best_of_metric(history, metric, larger=metrics[metric]))
        return best_line("eval_acer", None)

    def _send(self, title: str, blocks: list[Block]) -> None:
        if self._sender is None:
            self._sender = TelegramSender(self._credentials, self._patience)
        self._sender.send([Block(f"{self._run}: {title}", "b"), Block(f"on {platform.node()}"), *blocks])

    def _finish(self, title: str, blocks: list[Block], picture: bool = False) -> None:
        self._send(title, blocks)
        if picture:
            self._send_picture()
        self._sender.close()
        self._forget()

    def _send_picture(self) -> None:
        stamp = _stamp(self._picture)
        # One that was there before shows the run that this one overwrites.
        if stamp is None or stamp == self._old_picture:
            return
        try:
            picture = self._picture.read_bytes()
        except OSError as error:
            logger.warning("Telegram: the learning curve is not sent (%s)", error)
        else:
            self._sender.send_photo(picture, PICTURE, f"{self._run}: learning curve")


def _stamp(path: Path) -> tuple | None:
    """What tells one version of a file from another, `None` where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
