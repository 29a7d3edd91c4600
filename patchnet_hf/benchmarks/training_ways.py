"""Ways to train the same network, each a turn of steps that is timed."""

import gc
import math
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

from ..data.schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, LABELS
from ..data.views import TRAINING_VIEWS, TrainingViews
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from ..process_memory import keep_freed_memory
from ..training.arguments import PatchNetTrainingArguments
from ..training.trainer import PatchNetTrainer
from .memory import peak_memory
from .reference_training import ReferenceSteps
from .training_settings import AHEAD, WARM_UP, TrainingSettings

# Batches that the ways with views in memory go round.
BATCHES = 4
LEARNING_RATE = 1e-4


class ViewsInMemory(torch.utils.data.Dataset):
    """
    Views of captures that are decoded already, as the items of [`TrainingViews`] are.

    Args:
        views: `(N, 2, P, P, 3)` uint8.
        labels: `(N,)` int64.
    """

    def __init__(self, views: np.ndarray, labels: np.ndarray):
        self.views = views
        self.labels = labels
        self.attack_types = [BONA_FIDE, DEFAULT_ATTACK_TYPE]

    @classmethod
    def random(cls, captures: int, patch_size: int) -> "ViewsInMemory":
        """Noise, live and attacked in turn."""
        random = np.random.default_rng(0)
        views = random.integers(0, 256, (captures, TRAINING_VIEWS, patch_size, patch_size, 3), dtype=np.uint8)
        return cls(views, np.arange(captures) % len(LABELS))

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> dict:
        label = int(self.labels[index])
        return {"pixel_values": self.views[index], "labels": label, "attack_types": 1 - label}


class TrainingWays:
    """
    Makes the ways to train a network: a method for each, by its name in the JSON file.

    Each takes the same steps, in turns that begin with a copy of the network: some that aren't timed, and then those
    that are. It returns the seconds that one of them took. A process should go one way only: what one has freed and
    kept would spare another one its page faults.

    Args:
        model: the network; copies of it are trained.
        captures: JPEG captures by the data contract.
        settings: of the measurement.
        folder: for what the Trainer writes.
    """

    def __init__(
        self,
        model: PatchNetForImageClassification,
        captures: datasets.Dataset,
        settings: TrainingSettings,
        folder: Path,
    ):
        self.model = model
        self.captures = captures
        self.settings = settings
        self.folder = folder
        self.processor = PatchNetImageProcessor(patch_size=settings.patch_size)
        self.views = ViewsInMemory.random(BATCHES * settings.batch_size, settings.patch_size)

    def reference(self) -> float:
        """Two passes in float32, a loss and counts in Python; the views lie on the device, plane after plane."""
        steps = ReferenceSteps(deepcopy(self.model).train().to(self.settings.device))
        batches = []
        for pixel_values, labels in self._batches():
            first, second = (view.contiguous() for view in pixel_values.unbind(1))
            batches.append((first, second, labels))
        return self._timed(lambda number: steps(*batches[number % BATCHES]))

    def bare(self) -> float:
        """Nothing but the network, its loss and its update, on views that lie on the device, normalised."""
        model = deepcopy(self.model).train().to(self.settings.device, memory_format=torch.channels_last)
        return self._looped(model, self._batches(), self.arguments().autocast_dtype, self.settings.compile)

    def bare_float32(self) -> float:
        """The same without what makes it fast: in float32, plane after plane, not compiled."""
        model = deepcopy(self.model).train().to(self.settings.device)
        batches = [(pixel_values.contiguous(), labels) for pixel_values, labels in self._batches()]
        return self._looped(model, batches, None, compiled=False)

    def _looped(
        self,
        model: PatchNetForImageClassification,
        batches: list[tuple[Tensor, Tensor]],
        dtype: torch.dtype | None,
        compiled: bool,
    ) -> float:
        keep_freed_memory()
        if compiled:
            # Each turn compiles a network of its own, and what is compiled for one piece of code is limited.
            torch.compiler.reset()
        network = torch.compile(model, dynamic=False) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)

        def step(number: int) -> None:
            pixel_values, labels = batches[number % BATCHES]
            with torch.autocast(self.settings.device, dtype, enabled=dtype is not None):
                loss = network(pixel_values, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return self._timed(step)

    def trainer(self) -> float:
        """The Trainer of `scripts/train.py`, on decoded views."""
        return self._trained(self.views, workers=0, warm_up=WARM_UP)

    def files(self) -> float:
        """The same, with workers that decode, cut and turn patches of JPEG captures."""
        # As one epoch: those of training sets are longer than a turn, and workers never run out of captures.
        batches = WARM_UP + 2 * self.settings.prefetched + self.settings.timed_steps + AHEAD
        epochs = math.ceil(batches * self.settings.batch_size / len(self.captures))
        captures = datasets.concatenate_datasets([self.captures] * epochs)
        views = TrainingViews(captures, self.processor, LABELS)
        # Until what the workers had ready is used up, a step doesn't wait for them.
        return self._trained(views, self.settings.workers, WARM_UP + self.settings.prefetched)

    def memory(self, way: str) -> int | None:
        """The most that a turn takes in bytes; `None` where the system doesn't tell."""
        return peak_memory(getattr(self, way), self.settings.device)

    def arguments(self, **options) -> PatchNetTrainingArguments:
        """Those of `scripts/train.py`, where nothing is evaluated, saved or reported."""
        settings = self.settings
        arguments = PatchNetTrainingArguments(
            output_dir=str(self.folder),
            per_device_train_batch_size=settings.batch_size,
            precision=settings.precision,
            torch_compile=settings.compile,
            use_cpu=settings.device == "cpu",
            cpu_threads=settings.used_threads,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            report_to="none",
            disable_tqdm=True,
            learning_rate=LEARNING_RATE,
            **options,
        )
        if arguments.device.type == "cuda":
            # Without a launcher the Trainer would share each batch among all GPUs, and take as many as there are.
            arguments._n_gpu = 1
        return arguments

    def _trained(self, views: torch.utils.data.Dataset, workers: int, warm_up: int) -> float:
        keep_freed_memory()
        if self.settings.compile:
            torch.compiler.reset()
        clock = StepClock(warm_up, self.settings.timed_steps, self._wait)
        arguments = self.arguments(max_steps=clock.last_step, dataloader_num_workers=workers)
        trainer = PatchNetTrainer(
            deepcopy(self.model), arguments, train_dataset=views, processing_class=self.processor, callbacks=[clock]
        )
        trainer.remove_progress()
        trainer.train()
        # Its workers and its network end now, not in another way's turn.
        del trainer
        gc.collect()
        return clock.seconds_of_a_step

    def _batches(self) -> list[tuple[Tensor, Tensor]]:
        """Normalised views `(B, 2, 3, P, P)` and labels `(B,)`, on the device."""
        size, device = self.settings.batch_size, self.settings.device
        return [
            (
                self.processor.normalize_views(torch.from_numpy(self.views.views[start : start + size]).to(device)),
                torch.from_numpy(self.views.labels[start : start + size]).to(device),
            )
            for start in range(0, len(self.views), size)
        ]

    def _timed(self, step: Callable[[int], object]) -> float:
        for number in range(WARM_UP):
            step(number)
        self._wait()
        start = time.perf_counter()
        for number in range(self.settings.timed_steps):
            step(number)
        self._wait()
        return (time.perf_counter() - start) / self.settings.timed_steps

    def _wait(self) -> None:
        if self.settings.device == "cuda":
            torch.cuda.synchronize()


class StepClock(TrainerCallback):
    """
    Times the last steps of a training.

    Args:
        warm_up: steps before them, which aren't timed.
        steps: timed steps.
        wait: waits for the device to be done with its work.
    """

    def __init__(self, warm_up: int, steps: int, wait: Callable[[], object]):
        self.warm_up = warm_up
        self.steps = steps
        self.wait = wait
        self._start = self._end = 0.0

    @property
    def last_step(self) -> int:
        """When to stop training."""
        return self.warm_up + self.steps

    @property
    def seconds_of_a_step(self) -> float:
        return (self._end - self._start) / self.steps

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.warm_up:
            self.wait()
            self._start = time.perf_counter()
        elif state.global_step == self.last_step:
            self.wait()
            self._end = time.perf_counter()
