"""Reading checkpoints and configurations of the fas-patchnet repository."""
