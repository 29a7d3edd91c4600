"""Ctrl-C and termination signals that end a training with a checkpoint."""

import os
import signal
import threading
import time

from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import SaveStrategy

from ..late_interrupt import SAME_REQUEST_SECONDS

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(KeyboardInterrupt):
    """A training was told to stop, and has ended with a checkpoint, on all processes."""

    shared = True


def in_own_process_group(worker_init, worker_id: int) -> None:
    """
    Starts a data worker out of reach of signals to the training's process group.

    Ctrl-C and a launcher's SIGTERM go to the whole group. A worker would end at once, and with it the training.

    Args:
        worker_init: the loader's own `worker_init_fn`, or `None`.
        worker_id: as torch passes it.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    if worker_init is not None:
        worker_init(worker_id)


class InterruptionCallback(TrainerCallback):
    """
    Ends the training after the step in progress, with a whole checkpoint, when Ctrl-C or SIGTERM tells it to stop.

    All processes stop after the same step, whichever of them got the signal. Asked again three seconds later or more,
    a process stops at once, by `KeyboardInterrupt`. The handlers are in place while the training lasts.

    Where the step's evaluation comes first, a checkpoint is saved before it, too: a launcher that kills its processes
    after a while may not leave them the time.

    Args:
        trainer: whose training is ended.

    Attributes:
        stopped: whether the training was ended so.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.stopped = False
        self._asked_at: float | None = None
        self._process: int | None = None
        self._earlier = {}

    def on_train_begin(self, args, state, control, **kwargs):
        """Takes over the signals, where Python lets a thread do so."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        self._earlier = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def on_step_end(self, args, state, control, **kwargs):
        """Asks for a checkpoint and the end, if any process was told to stop."""
        if self.any_asked():
            self.stopped = True
            # What is saved to go on from needs its optimiser, even if the run keeps models only, or only the best.
            args.save_only_model = False
            if args.save_strategy == SaveStrategy.BEST:
                args.save_strategy = SaveStrategy.STEPS
            control.should_save = True
            control.should_training_stop = True
            if control.should_evaluate:
                self.trainer._save_checkpoint(self.trainer.model, trial=None)

    def on_epoch_end(self, args, state, control, **kwargs):
        """Leaves out what is done once an epoch, if this one was broken off: it will be done when it has ended."""
        if self.stopped and state.epoch != int(state.epoch):
            control.should_evaluate = control.should_save = control.should_log = False

    def on_train_end(self, args, state, control, **kwargs):
        """Gives the signals back."""
        self.release()

    def release(self) -> None:
        """Puts the handlers from before the training in place again; does nothing the second time."""
        while self._earlier:
            signal.signal(*self._earlier.popitem())

    def any_asked(self) -> bool:
        """Whether any process was told to stop; all have to call it."""
        asked, accelerator = self._asked_at is not None, self.trainer.accelerator
        if accelerator.num_processes == 1:
            return asked
        if asked:
            accelerator.set_trigger()
        return accelerator.check_trigger()

    def _handle(self, number: int, frame) -> None:
        if os.getpid() != self._process:
            # A data worker, forked with this handler.
            return
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if self.trainer.is_world_process_zero():
                name = signal.Signals(number).name
                said = f"\n{name}: will stop after this step, with a checkpoint to go on from (once more: at once)\n"
                # Unbuffered, because the handler may run in the middle of another write to the same stream.
                os.write(2, said.encode())
        elif now - self._asked_at >= SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt
