"""The state of every random generator that a training step may draw from."""

import random

import numpy as np
import torch


def random_state(device: torch.device) -> dict:
    """
    State of the generators of Python, numpy, torch and, if `device` isn't the CPU, its own: numbers and tensors alone.

    Args:
        device: that this process trains on.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "device": None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(),
    }


def restore_random_state(state: dict, device: torch.device) -> None:
    """Sets all generators to what [`random_state`] returned; that of the device only where it is of the same kind."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["device"] is not None and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["device"])
