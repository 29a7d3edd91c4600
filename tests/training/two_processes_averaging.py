"""Trains with averaged weights and warm restarts; under torchrun each process leaves what it ended with."""

import importlib.util
import sys
from pathlib import Path

import torch

from patchnet_hf.training.synchronization import leave_processes

spec = importlib.util.spec_from_file_location("small_runs", Path(__file__).with_name("small_runs.py"))
small_runs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_runs)


def main(folder: Path):
    trainer = small_runs.small_run(
        folder / "run",
        backbone="test_resnet",
        per_device_train_batch_size=4,
        ema_decay=0.6,
        lr_scheduler_type="cosine_warm_restarts",
        lr_scheduler_kwargs={"T_0": 1},
        save_strategy="epoch",
        sets=small_runs.captures(5, 1),
    )
    recorder = small_runs.Recorder(weights=True)
    trainer.add_callback(recorder)
    seen = {}

    class Evaluating(small_runs.TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            with trainer.averaged_weights(everywhere=True):
                seen[int(state.epoch)] = small_runs.copied(trainer.model)

    trainer.add_callback(Evaluating())
    trainer.train()
    torch.save(
        {
            "weights": recorder.weights,
            "learning_rates": recorder.learning_rates,
            "evaluated": seen[1],
            "final": small_runs.copied(trainer.model),
        },
        folder / f"rank{trainer.args.process_index}.pt",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_processes()
