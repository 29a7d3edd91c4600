"""Ctrl-C and termination signals that end a training with a checkpoint."""

import os
import signal
import sys
import time

from accelerate import Accelerator
from transformers import TrainerCallback

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A launcher passes on what the terminal has already sent to the whole process group.
SAME_REQUEST_SECONDS = 3.0


class TrainingInterrupted(KeyboardInterrupt):
    """A training was told to stop, and has ended with a checkpoint."""


class InterruptionCallback(TrainerCallback):
    """
    Ends the training after the step in progress, with a whole checkpoint, when Ctrl-C or SIGTERM tells it to stop.

    All processes stop after the same step, whichever of them got the signal. Asked again three seconds later or more,
    a process stops at once, by `KeyboardInterrupt`. The handlers are in place while the training lasts.

    Args:
        accelerator: the Trainer's, through which processes agree.

    Attributes:
        stopped: whether the training was ended so.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.stopped = False
        self._asked_at: float | None = None
        self._process: int | None = None
        self._earlier = {}

    def on_train_begin(self, args, state, control, **kwargs):
        """Takes over the signals."""
        self._process = os.getpid()
        self._earlier = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def on_step_end(self, args, state, control, **kwargs):
        """Asks for a checkpoint and the end, if any process was told to stop."""
        if self._any_asked():
            self.stopped = True
            # What is saved to go on from needs its optimiser, even if the run keeps models only.
            args.save_only_model = False
            control.should_save = True
            control.should_training_stop = True

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

    def _any_asked(self) -> bool:
        asked = self._asked_at is not None
        if self.accelerator.num_processes == 1:
            return asked
        if asked:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def _handle(self, number: int, frame) -> None:
        if os.getpid() != self._process:
            # A data worker, forked with this handler: the training process ends it in its own time.
            return
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if self.accelerator.is_main_process:
                print(
                    f"\n{signal.Signals(number).name}: stopping after this step, with a checkpoint to go on from "
                    "(once more to stop at once)",
                    file=sys.stderr,
                    flush=True,
                )
        elif now - self._asked_at >= SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt
