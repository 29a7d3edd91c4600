"""Which tensors of a file can be weights: arrays of real numbers that are there."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import InputError

# What weights and their counters are kept in, and arithmetic is defined for.
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def check_plain(tensors: Mapping[str, Tensor], source: str) -> None:
    """
    Makes sure that tensors are dense, hold their values, and hold them as real numbers.

    Args:
        tensors: by name.
        source: how the user knows them, for messages.

    Raises:
        InputError: one is sparse, nested, quantised, without values ("meta"), or of complex or rare numbers. One line.
    """
    for name, tensor in tensors.items():
        if (found := _unusual(tensor)) is not None:
            raise InputError(f"{source}: {name} is {found}; expected a dense tensor of real numbers, such as float32")


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """
    Makes sure that plain tensors hold no NaN and nothing infinite.

    Raises:
        InputError: one does. One line.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"{source}: {name} holds values that aren't numbers")


def _unusual(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "without its values (on the device meta)"
    if tensor.is_quantized:
        return f"quantised ({_name(tensor.dtype)})"
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return f"sparse ({_name(tensor.layout)})"
    return None if tensor.dtype in DTYPES else f"of {_name(tensor.dtype)}"


def _name(of_torch: torch.dtype | torch.layout) -> str:
    return str(of_torch).removeprefix("torch.")
