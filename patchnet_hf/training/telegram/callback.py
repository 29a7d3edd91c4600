"""The callback that tells Telegram how a run goes."""

import functools
import logging
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_utils import has_length

from ..history import best_so_far
from ..learning_curve import FILE_NAME as PICTURE
from ..report import best_line
from .credentials import TelegramCredentials, read_credentials
from .messages import (
    Block,
    duration,
    rates_table,
    reason_of,
    reported_sets,
    seconds_left,
)
from .sender import DEFAULT_PATIENCE, Patience, TelegramSender, check_credentials

logger = logging.getLogger(__name__)


def _never_failing(hook):
    """A method that says what goes wrong in it and returns: no training shall end for a report."""

    @functools.wraps(hook)
    def guarded(self, *args, **kwargs):
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:
            reason = self._credentials.scrubbed(reason_of(error))
            logger.warning("Telegram: %s could not report (%s); training goes on", hook.__name__, reason)

    return guarded


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
        self._counts_epochs = True
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

    @_never_failing
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
            numbers = f"{parameters / 1e6:.1f} M parameters, {args.device}, {args.precision_name}"
            blocks.append(Block(f"{network}, {numbers}"))
        captures = getattr(train_dataloader, "dataset", None)
        # A stream has neither length nor epochs.
        self._counts_epochs = captures is not None and has_length(captures)
        size, epochs = "", ""
        if self._counts_epochs:
            size, epochs = f"{len(captures)} captures, ", f"{state.num_train_epochs} epochs, "
        blocks.append(Block(f"{size}batch {args.effective_batch_size}, {epochs}{state.max_steps} steps"))
        types = getattr(getattr(model, "config", None), "patch_types", None)
        if types:
            blocks.append(Block(f"patch types: {', '.join(types)}"))
        if state.global_step:
            blocks.append(Block(f"goes on from step {state.global_step}"))
        self._send("training started", blocks)

    @_never_failing
    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Reports a round of evaluation once all its sets are done."""
        sets = reported_sets(metrics or {})
        if sets is None:
            return
        if not self._training:
            # Of the model that is kept; part of the report of the end.
            self._final = metrics
            return
        progress, *best = self._progress()
        blocks = [progress, Block(rates_table(metrics, sets), "pre"), *best]
        left = seconds_left(time.monotonic() - self._began, self._first_step, state.global_step, state.max_steps)
        if left is not None:
            blocks.append(Block(f"time left: about {duration(left)}"))
        self._send("evaluation", blocks)

    @_never_failing
    def on_train_end(self, args, state, control, **kwargs):
        """Ends the run, unless `reporting` will do so."""
        self._training = False
        if not self._in_block:
            self._report_end()

    @_never_failing
    def _report_end(self) -> None:
        if self._state is None:
            return
        early = self._state.global_step < self._state.max_steps
        blocks = self._progress()
        final = self._final
        if final is not None:
            blocks += [Block("the model that is kept:"), Block(rates_table(final, reported_sets(final)), "pre")]
        self._finish("training stopped early" if early else "training done", blocks, picture=True)

    def _progress(self) -> list[Block]:
        """How far the run has come, and its best so far; nothing where it has not begun."""
        if self._state is None:
            return []
        state = self._state
        took = duration(time.monotonic() - self._began)
        epochs = f"epoch {state.epoch or 0:.4g} of {state.num_train_epochs}, " if self._counts_epochs else ""
        blocks = [Block(f"{epochs}step {state.global_step} of {state.max_steps}, {took}")]
        found = best_so_far(state.log_history)
        return [*blocks, Block(best_line(found))] if found else blocks

    def _send(self, title: str, blocks: list[Block], first: bool = False) -> None:
        if self._sender is None:
            self._sender = TelegramSender(self._credentials, self._patience)
        self._sender.send([Block(f"{self._run}: {title}", "b"), Block(f"on {platform.node()}"), *blocks], first)

    @_never_failing
    def _finish(self, title: str, blocks: list[Block], picture: bool = False) -> None:
        # What matters now is the end, not the evaluations that a slow server hasn't taken yet.
        self._send(title, blocks, first=True)
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
            self._sender.send_photo(picture, PICTURE, f"{self._run}: learning curve", first=True)


def _stamp(path: Path) -> tuple | None:
    """What tells one version of a file from another, `None` where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
