"""Trains four steps of two passes each; every process leaves what its model said and what it logged."""

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
        folder / "run",
        train_count=64,
        epochs=2,
        logging_steps=2,
        gradient_accumulation_steps=2,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    seen = []

    def remember(module, args, inputs, output):
        batch = {name: value.item() for name, value in output.loss_dict.items()}
        scores = (output.logits[:, 1] - output.logits[:, 0]).detach().clone()
        seen.append({"scores": scores, "labels": inputs["labels"], **batch})

    trainer.model.register_forward_hook(remember, with_kwargs=True)
    trainer.train()
    names = ("loss", "acer", "apcer", "bpcer", "loss_classification", "loss_similarity")
    logs = [{name: log[name] for name in names} for log in trainer.state.log_history if "loss" in log]
    torch.save({"seen": seen, "logs": logs}, folder / f"rank{trainer.args.process_index}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_processes()
