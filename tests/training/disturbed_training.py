"""scripts/train.py, disturbed: the process kills or interrupts itself, or finds no room, at the moment it is told.

Usage: disturbed_training.py MOMENT OPTION... where MOMENT is `never`, `kill:STEP` (SIGKILL in the middle of that step,
on every process), `kill-save:STEP` (SIGKILL while that step's checkpoint is being written), `interrupt:STEP` (Ctrl-C
in that step, on the last process only), `terminate-group:STEP` (SIGTERM to the whole process group),
`wrong-on-last:STEP` (an InputError on the last process only), or `full:BYTES` (no file may grow beyond that once
training has begun).
"""

import os
import resource
import signal
import sys

import patchnet_hf.training.checkpoints as checkpoints
from patchnet_hf.command_line import run_command
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.run import train
from patchnet_hf.training.trainer import PatchNetTrainer

started = set()
original_step, original_save = PatchNetTrainer.training_step, checkpoints.save_state


def moment() -> tuple[str, int]:
    """What is to happen, and in which step or at how many bytes."""
    kind, _, number = sys.argv[1].partition(":")
    return kind, int(number or 0)


def training_step(self, model, inputs, *rest):
    """Step 1 is the first one, not yet counted while it runs."""
    kind, number = moment()
    step = self.state.global_step + 1
    if kind == "kill" and step == number:
        os.kill(os.getpid(), signal.SIGKILL)
    first_pass = step not in started
    started.add(step)
    if kind == "interrupt" and step == number and first_pass and self.args.process_index == self.args.world_size - 1:
        os.kill(os.getpid(), signal.SIGINT)
    if kind == "terminate-group" and step == number and first_pass:
        os.killpg(os.getpgid(0), signal.SIGTERM)
    if kind == "wrong-on-last" and step == number and self.args.process_index == self.args.world_size - 1:
        raise InputError("only here")
    if kind == "full":
        # A real refusal of the kernel (EFBIG), as a full disk is one (ENOSPC).
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    return original_step(self, model, inputs, *rest)


def save_state(path, state):
    """Leaves half a file behind."""
    kind, number = moment()
    if kind == "kill-save" and os.path.exists(os.path.join(os.path.dirname(path), "model.safetensors")):
        step = int(os.path.basename(os.path.dirname(path)).split(".")[1].split("-")[1])
        if step == number:
            original_save(path, state)
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    original_save(path, state)


def main():
    PatchNetTrainer.training_step, checkpoints.save_state = training_step, save_state
    parser = RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments), prog="train.py")
    train(*parser.parse_run(sys.argv[2:]))


if __name__ == "__main__":
    run_command(main)
