"""
Runs the Trainer's real loop over balanced data and leaves what each process drew in the folder given.

Imported it is one process, under torchrun several. The network is passed over: only the data is looked at.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import torch
from torch.utils.data import default_collate

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.balancing import BalancedSampling
from patchnet_hf.data.streams import TrainingStream
from patchnet_hf.data.views import TrainingViews
from patchnet_hf.training.arguments import PatchNetTrainingArguments
from patchnet_hf.training.sampling import sampling_text
from patchnet_hf.training.synchronization import leave_processes
from patchnet_hf.training.trainer import PatchNetTrainer

spec = importlib.util.spec_from_file_location(
    "test_balancing", Path(__file__).parent.parent / "data" / "test_balancing.py"
)
test_balancing = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_balancing)

LABELS = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
"""4 live captures and 11 attacks: 22 in a balanced epoch."""
BATCH = 4
BALANCE = BalancedSampling(("label",))


class NumberedViews(TrainingViews):
    """Views that say by which id, and in which epoch, they were asked for."""

    def __getitem__(self, index):
        return {**super().__getitem__(index), "id": index, "epoch": self._epoch.item()}


def collate_numbered(items):
    """As by default; items that aren't numbered, those of a stream, by the capture's number, which is their red."""
    numbers = ({"id": int(item["pixel_values"][0, 0, 0, 0]), "epoch": 0} for item in items)
    return default_collate([{**number, **item} for number, item in zip(numbers, items, strict=True)])


class DrawingTrainer(PatchNetTrainer):
    """Notes what it is given instead of training."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.__dict__.setdefault("drawn", []).append([inputs["id"].tolist(), inputs["epoch"].tolist()])
        self.__dict__.setdefault("views", []).append(inputs["pixel_values"].double().sum((1, 2, 3, 4)).tolist())
        return torch.zeros((), device=self.args.device)


def draw(folder, data=None, resume=None, balance=BALANCE, **options) -> dict:
    """The batches that this process draws: `{"drawn": [[ids, epochs], ...], "views": ..., "steps": ...}`."""
    torch.manual_seed(0)
    processor = PatchNetImageProcessor(patch_size=16)
    config = PatchNetConfig(
        backbone="test_resnet", patch_types=test_balancing.PATCH_TYPES, live_patch_types=["phone/live"], image_size=16
    )
    defaults = {"num_train_epochs": 3, "save_strategy": "no", "seed": 11}
    arguments = PatchNetTrainingArguments(
        output_dir=str(folder),
        report_to="none",
        per_device_train_batch_size=BATCH,
        disable_tqdm=True,
        precision="float32",
        use_cpu=True,
        eval_strategy="no",
        load_best_model_at_end=False,
        **{**defaults, **options},
    )
    if data is None:
        data = NumberedViews(test_balancing.captures(LABELS), processor, test_balancing.PATCH_TYPES, arguments.seed)
    trainer = DrawingTrainer(
        PatchNetForImageClassification(config),
        arguments,
        data_collator=collate_numbered,
        train_dataset=data,
        processing_class=processor,
        balance=balance,
    )
    output = trainer.train(resume_from_checkpoint=resume)
    return {
        "said": sampling_text(trainer, trainer.balanced_sampler, len(LABELS)),
        "drawn": trainer.drawn,
        "views": trainer.views,
        "steps": trainer.state.global_step,
        "throughput": output.metrics["train_samples_per_second"] * output.metrics["train_runtime"],
    }


def balanced_stream() -> TrainingStream:
    """Turns of live captures and attacks."""
    stream = test_balancing.captures(LABELS).to_iterable_dataset().shuffle(seed=2, buffer_size=20)
    stream = test_balancing.balance_stream(stream, "label")
    return TrainingStream(stream, PatchNetImageProcessor(patch_size=16), test_balancing.PATCH_TYPES, seed=11)


def everything(folder: Path, processes: int) -> dict:
    """All scenarios, each beside the one that it is compared with."""
    saving = {"save_strategy": "steps", "save_total_limit": None}
    drawn = {}
    # Checkpoints lie within the second epoch, not at an end.
    for name, balance, middle in (("whole", BALANCE, 8), ("unbalanced", None, 6)):
        middle //= processes
        drawn[name] = draw(folder / name, balance=balance, save_steps=middle, **saving)
        checkpoint = folder / name / f"checkpoint-{middle}"
        resumed = draw(folder / f"resumed-{name}", balance=balance, resume=str(checkpoint))
        drawn |= {f"resumed_{name}": resumed, f"middle_of_{name}": middle}
    of_stream = {"data": balanced_stream(), "balance": None, "max_steps": 9}
    drawn["stream"] = draw(folder / "stream", **of_stream, save_steps=4, **saving)
    checkpoint = folder / "stream" / "checkpoint-4"
    drawn["resumed_stream"] = draw(folder / "resumed-stream", **of_stream, resume=str(checkpoint))
    drawn["stream_of_each"] = draw(folder / "each", **of_stream, accelerator_config={"dispatch_batches": False})
    drawn["dropped"] = draw(folder / "dropped", dataloader_drop_last=True)
    return drawn


def main(folder: Path):
    drawn = everything(folder, int(os.environ["WORLD_SIZE"]))
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(drawn))
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
