"""Checkpoints that are whole or not there, and hold safetensors and JSON alone."""

import shutil
from pathlib import Path

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from ..errors import InputError
from ..whole_folder import whole_folder
from .random_state import random_state, restore_random_state
from .state_files import load_state, save_state
from .synchronization import raise_everywhere

OPTIMIZER_FILE = "optimizer.safetensors"
SCHEDULER_FILE = "scheduler.safetensors"
SCALER_FILE = "scaler.safetensors"
RANDOM_FILE = "random_state.safetensors"
STATE_FILE = "trainer_state.json"
ARGUMENTS_FILE = "training_args.json"

logger = logging.get_logger(__name__)


class CheckpointError(InputError):
    """A checkpoint couldn't be written; the one before it is as it was."""


def checkpoints_in(folder: str | Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first.

    >>> checkpoints_in("nowhere")
    []
    """
    found = [path for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.split("-")[-1].isdigit()]
    return sorted((path for path in found if path.is_dir()), key=lambda path: int(path.name.split("-")[-1]))


def outdated_checkpoints(checkpoints: list[Path], limit: int | None, best: Path | None) -> list[Path]:
    """
    Which checkpoints have to go so that at most `limit` stay; never the newest, nor the best.

    Args:
        checkpoints: oldest first.
        limit: how many to keep; `None` or 0: all.
        best: the best of them, if known.

    >>> outdated_checkpoints([Path("1"), Path("2"), Path("3")], 2, Path("1"))
    [PosixPath('2')]
    """
    if not limit or limit < 0:
        return []
    removable = [path for path in checkpoints[:-1] if path != best]
    return removable[: max(len(checkpoints) - limit, 0)]


def remove_unfinished_checkpoints(folder: str | Path) -> None:
    """Removes what a killed process left of checkpoints that it was writing."""
    for path in Path(folder).glob(f".{PREFIX_CHECKPOINT_DIR}-*.*"):
        shutil.rmtree(path, ignore_errors=True)


class WholeCheckpointsMixin:
    """
    How [`PatchNetTrainer`] writes and reads its checkpoints.

    The Trainer's own may be cut off by a kill, and hold pickles. Here a `checkpoint-N` is complete from the moment it
    has that name, older ones go only after that, and everything in it is safetensors or JSON: the model (a folder
    for `from_pretrained`), optimiser, schedule, gradient scaler and the random states of all processes. DeepSpeed and
    FSDP keep formats of their own, written by the Trainer.
    """

    @property
    def _sharded(self) -> bool:
        return self.is_deepspeed_enabled or self.is_fsdp_enabled

    def _save_checkpoint(self, model, trial):
        if self._sharded:
            super()._save_checkpoint(model, trial)
            return
        if self.hp_search_backend is None and trial is None:
            self.store_flos()
        run_dir = Path(self._get_output_dir(trial=trial))
        target = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        random_states = gather_object([random_state(self.args.device)])
        failure = self._written(target, random_states) if self.args.should_save else None
        # All processes wait here for the writing ones, and learn whether to go on.
        raise_everywhere(failure, CheckpointError)
        self._note_best_checkpoint(target)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(target))
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            for path in outdated_checkpoints(
                checkpoints_in(run_dir), self.args.save_total_limit, Path(best) if best else None
            ):
                shutil.rmtree(path, ignore_errors=True)

    def _written(self, target: Path, random_states: list[dict]) -> str | None:
        """Writes a whole checkpoint; returns why it couldn't be written."""
        try:
            with whole_folder(target) as work:
                self.save_model(str(work), _internal_call=True)
                self._note_best_checkpoint(target)
                if not self.args.save_only_model:
                    self._save_optimizer_and_scheduler(str(work))
                    self._save_scaler(str(work))
                    save_state(work / RANDOM_FILE, {"processes": random_states})
                self._update_stateful_callbacks()
                self.state.save_to_json(str(work / STATE_FILE))
        except (InputError, OSError, SafetensorError) as error:
            reason = str(error).removeprefix(f"output {target}: can't be written: ")
            whole = [path for path in checkpoints_in(target.parent) if path != target]
            hint = f"{whole[-1].name} is whole: make room, then --resume_from_checkpoint true goes on from it"
            return f"{target} can't be written: {reason}; {hint if whole else 'there is no earlier checkpoint'}"
        return None

    def _note_best_checkpoint(self, target: Path) -> None:
        if not self.state.best_global_step:
            return
        best = target.with_name(f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}")
        if best == target or best.is_dir():
            self.state.best_model_checkpoint = str(best)

    def _update_stateful_callbacks(self) -> None:
        # As the Trainer does it before it writes its state.
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                held = self.state.stateful_callbacks
                name, exported = type(callback).__name__, callback.state()
                if isinstance(held[name], list):
                    held[name].append(exported)
                else:
                    held[name] = exported

    def _save(self, output_dir: str | None = None, state_dict=None):
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        model.save_pretrained(folder, state_dict=state_dict)
        self.processing_class.save_pretrained(folder)
        (folder / ARGUMENTS_FILE).write_text(self.args.to_json_string() + "\n", encoding="utf-8")

    def _save_optimizer_and_scheduler(self, output_dir):
        if self._sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_state(Path(output_dir) / OPTIMIZER_FILE, self.optimizer.state_dict())
        save_state(Path(output_dir) / SCHEDULER_FILE, self.lr_scheduler.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None or self._sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        self.optimizer.load_state_dict(load_state(Path(checkpoint) / OPTIMIZER_FILE))
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    # In the parameter's memory format again, which the optimiser's fast paths ask for.
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        self.lr_scheduler.load_state_dict(load_state(Path(checkpoint) / SCHEDULER_FILE))

    def _save_scaler(self, output_dir):
        if self._sharded:
            super()._save_scaler(output_dir)
        elif self.accelerator.scaler is not None:
            save_state(Path(output_dir) / SCALER_FILE, self.accelerator.scaler.state_dict())

    def _load_scaler(self, checkpoint):
        if checkpoint is None or self._sharded:
            super()._load_scaler(checkpoint)
        elif self.accelerator.scaler is not None and (file := Path(checkpoint) / SCALER_FILE).is_file():
            self.accelerator.scaler.load_state_dict(load_state(file))

    def _load_rng_state(self, checkpoint):
        if checkpoint is None or self._sharded:
            super()._load_rng_state(checkpoint)
            return
        file = Path(checkpoint) / RANDOM_FILE
        states = load_state(file)["processes"] if file.is_file() else []
        if len(states) == self.args.world_size:
            restore_random_state(states[self.args.process_index], self.args.device)
        else:
            logger.warning(
                f"{checkpoint} holds the random states of {len(states)} processes, and these are "
                f"{self.args.world_size}: dropout won't draw what it would have drawn there"
            )
