"""One training step by SGD on 16 captures, and an evaluation; each process leaves what it ended with.

Usage: one_step.py FOLDER BACKBONE SYNC_BATCH_NORM(0|1)
"""

import importlib.util
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.training.arguments import PatchNetTrainingArguments
from patchnet_hf.training.synchronization import leave_processes
from patchnet_hf.training.trainer import PatchNetTrainer

spec = importlib.util.spec_from_file_location("test_trainer", Path(__file__).with_name("test_trainer.py"))
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)

JOINT_BATCH = 16


def main(folder: Path, backbone: str, sync_batch_norm: bool):
    arguments = PatchNetTrainingArguments(
        output_dir=str(folder / "run"),
        max_steps=1,
        report_to="none",
        save_strategy="no",
        eval_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=0,
        precision="float32",
        use_cpu=True,
        sync_batch_norm=sync_batch_norm,
        per_device_eval_batch_size=5,
    )
    arguments.per_device_train_batch_size = JOINT_BATCH // arguments.world_size
    torch.manual_seed(0)
    config = PatchNetConfig(
        backbone=backbone,
        patch_types=test_trainer.PATCH_TYPES,
        live_patch_types=["phone/live"],
        image_size=32,
        scale=8.0,
    )
    trainer = PatchNetTrainer(
        model=PatchNetForImageClassification(config),
        args=arguments,
        train_dataset=test_trainer.captures(JOINT_BATCH, 0),
        eval_dataset={"near": test_trainer.captures(13, 1), "far": test_trainer.captures(8, 2)},
        processing_class=PatchNetImageProcessor(patch_size=32, grid=2),
    )
    trainer.train()
    metrics = trainer.evaluate()
    ended = {f"state.{name}": value.contiguous().clone() for name, value in trainer.model.state_dict().items()}
    ended |= {f"scores.{name}": torch.from_numpy(part.scores) for name, part in trainer.scored.items()}
    ended |= {f"images.{name}": torch.tensor(metrics[f"eval_{name}_images"]) for name in ("near", "far", "total")}
    save_file(ended, folder / f"rank{arguments.process_index}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "1")
    leave_processes()
