"""Trains two epochs and evaluates; under torchrun each process leaves what it ended with in the folder given."""

import importlib.util
import sys
from pathlib import Path

import torch

from patchnet_hf.training.synchronization import leave_processes

spec = importlib.util.spec_from_file_location("test_trainer", Path(__file__).with_name("test_trainer.py"))
test_trainer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_trainer)


def main(folder: Path):
    trainer = test_trainer.small_trainer(
        folder / "run", train_count=32, epochs=2, save_strategy="no", load_best_model_at_end=False
    )
    drawn = []
    original = type(trainer).training_step

    def training_step(self, model, inputs, *rest):
        drawn.append(inputs["pixel_values"].double().sum((1, 2, 3, 4)).cpu())
        return original(self, model, inputs, *rest)

    type(trainer).training_step = training_step
    trainer.train()
    metrics = trainer.evaluate()
    rank = trainer.args.process_index
    torch.save(
        {
            "world_size": trainer.args.world_size,
            # Batch-norm statistics are each process's own until synchronised; what is trained must be equal.
            "parameters": {name: value.detach() for name, value in trainer.model.named_parameters()},
            "drawn": torch.cat(drawn),
            "scores": {name: torch.from_numpy(part.scores) for name, part in trainer.scored.items()},
            "images": metrics["eval_total_images"],
        },
        folder / f"rank{rank}.pt",
    )
    if rank == 0:
        trainer.model.save_pretrained(folder / "model")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_processes()
