"""Checkpoints that are whole or not there, and hold safetensors and JSON alone."""

import json
import math
import shutil
from pathlib import Path

import torch
from accelerate.utils import gather_object
from safetensors import SafetensorError
from transformers.trainer_callback import ExportableState, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SaveStrategy, TrainOutput, get_last_checkpoint
from transformers.utils import logging

from ..errors import InputError
from ..models.weights_patchnet import PICKLE_NAMES, SAFE_NAMES, refusal
from ..whole_folder import whole_folder
from .random_state import random_state, restore_random_state
from .sampling import planned_steps
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


def outdated_checkpoints(checkpoints: list[Path], limit: int | None, kept: set[Path]) -> list[Path]:
    """
    Which checkpoints have to go so that at most `limit` stay, and those of `kept` in any case.

    Args:
        checkpoints: oldest first.
        limit: how many to keep; `None` or 0: all.
        kept: the one just written, and the best.

    >>> outdated_checkpoints([Path("1"), Path("2"), Path("3")], 2, {Path("1"), Path("3")})
    [PosixPath('2')]
    """
    if not limit or limit < 0:
        return []
    removable = [path for path in checkpoints if path not in kept]
    return removable[: max(len(checkpoints) - limit, 0)]


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint, so that a kill in the middle leaves nothing that passes for one."""
    removed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    path.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def recover_checkpoints(folder: str | Path) -> None:
    """
    Clears away what killed processes left: checkpoints half written or half removed.

    A checkpoint that was about to be replaced by another of the same step, and wasn't, gets its name again.
    """
    for path in Path(folder).glob(f".{PREFIX_CHECKPOINT_DIR}-*.*"):
        named = path.with_name(path.name.split(".")[1])
        if path.suffix == ".replaced" and not named.exists():
            path.rename(named)
        else:
            shutil.rmtree(path, ignore_errors=True)


def check_no_pickles(checkpoint: str | Path) -> None:
    """
    Makes sure that a checkpoint can be taken up without loading a pickle.

    Raises:
        InputError: its weights or the optimiser's state aren't safetensors.
    """
    folder = Path(checkpoint)
    if not any((folder / name).is_file() for name in SAFE_NAMES):
        if (pickled := next((name for name in PICKLE_NAMES if (folder / name).is_file()), None)) is not None:
            raise InputError(refusal(folder, pickled))
        raise InputError(f"{checkpoint} has no weights ({SAFE_NAMES[0]})")
    pickled = [path.name for path in sorted(folder.glob("optimizer*")) if path.suffix in (".bin", ".pt", ".pth")]
    if pickled and not (folder / OPTIMIZER_FILE).is_file():
        raise InputError(
            f"{checkpoint} has the optimiser's state in a pickle ({pickled[0]}), which could run any code when it is "
            f"loaded; --init_from {checkpoint} starts a new run from its weights alone"
        )


class WholeCheckpointsMixin:
    """
    How [`PatchNetTrainer`] writes and reads its checkpoints.

    The Trainer's own may be cut off by a kill, and hold pickles. Here a `checkpoint-N` is complete from the moment it
    has that name, older ones go only after that, and everything in it is safetensors or JSON: the model (a folder
    for `from_pretrained`), optimiser, schedule, gradient scaler and the random states of all processes; a checkpoint
    with pickles isn't taken up. DeepSpeed and FSDP keep formats of their own, written and read by the Trainer.
    """

    # `save_total_limit`, while the Trainer trains without.
    _kept_limit: int | None = None

    @property
    def _sharded(self) -> bool:
        return self.is_deepspeed_enabled or self.is_fsdp_enabled

    def check_checkpoint(self, checkpoint: str | Path) -> None:
        """[`check_no_pickles`], but for runs whose checkpoints DeepSpeed or FSDP write and read."""
        if not self._sharded:
            check_no_pickles(checkpoint)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs) -> TrainOutput:
        """As [`transformers.Trainer.train`]; a run that had reached its end before isn't trained a step further."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir)
        if isinstance(resume_from_checkpoint, str) and not self._sharded:
            self.check_checkpoint(resume_from_checkpoint)
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / STATE_FILE))
            if state.global_step >= planned_steps(self)[1]:
                return self._taken_up_at_its_end(Path(resume_from_checkpoint), state)
        # With a limit of 1 the Trainer would remove the last checkpoint at the end, before the model is saved.
        self._kept_limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self.args.save_total_limit, self._kept_limit = self._kept_limit, None

    def _checkpoint_limit(self) -> int | None:
        return self._kept_limit if self.args.save_total_limit is None else self.args.save_total_limit

    def _taken_up_at_its_end(self, checkpoint: Path, state: TrainerState) -> TrainOutput:
        """Where a training ends, from its last checkpoint: the Trainer itself would do one more step in some cases."""
        state.is_world_process_zero, state.is_local_process_zero = (
            self.is_world_process_zero(),
            self.is_local_process_zero(),
        )
        self.state = state
        self._load_from_checkpoint(str(checkpoint))
        self.control = self.callback_handler.on_train_begin(self.args, self.state, self.control)
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        return TrainOutput(self.state.global_step, math.nan, {})

    def _load_best_model(self):
        if self.state.best_global_step:
            # The folder of the run may have been moved since.
            self._note_best_checkpoint(
                Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            )
        if Path(self.state.best_model_checkpoint or "").is_dir():
            # Where it is, a file says that may be somebody else's.
            self.check_checkpoint(self.state.best_model_checkpoint)
        super()._load_best_model()

    def _save_checkpoint(self, model, trial):
        if self._sharded:
            super()._save_checkpoint(model, trial)
            return
        if self.hp_search_backend is None and trial is None:
            self.store_flos()
        if self.args.save_strategy == SaveStrategy.BEST and self._has_measured_its_best():
            # transformers notes the step of the best for the other strategies alone.
            self.state.best_global_step = self.state.global_step
        run_dir = Path(self._get_output_dir(trial=trial))
        target = run_dir / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        random_states = gather_object([random_state(self.args.device)])
        failure = self._written(target, random_states) if self.args.should_save else None
        # All processes wait here for the writing ones, and learn whether to go on.
        raise_everywhere(failure, CheckpointError)
        self._note_best_checkpoint(target)
        if self.args.should_save:
            kept = {target, Path(self.state.best_model_checkpoint or target)}
            for path in outdated_checkpoints(checkpoints_in(run_dir), self._checkpoint_limit(), kept):
                remove_checkpoint(path)

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
        except (InputError, OSError, SafetensorError, TypeError) as error:
            reason = str(error).removeprefix(f"output {target}: can't be written: ")
            whole = [path for path in checkpoints_in(target.parent) if path != target]
            hint = f"{whole[-1].name} is whole: make room, then --resume_from_checkpoint true goes on from it"
            return f"{target} can't be written: {reason}; {hint if whole else 'there is no earlier checkpoint'}"
        return None

    def _has_measured_its_best(self) -> bool:
        metric = self.args.metric_for_best_model
        metric = metric if metric is None or metric.startswith("eval_") else f"eval_{metric}"
        here = [log for log in self.state.log_history if log.get("step") == self.state.global_step]
        return metric is not None and any(log.get(metric) == self.state.best_metric for log in here if metric in log)

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
        arguments = {**self.args.to_dict(), "save_total_limit": self._checkpoint_limit()}
        (folder / ARGUMENTS_FILE).write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")

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
                if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape == parameter.shape:
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
                f"{checkpoint} is of {len(states)} processes, and these are {self.args.world_size}: the training goes "
                "on with other batches and other random numbers"
            )
