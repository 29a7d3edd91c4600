"""Files of weights, read without running anything that they hold."""

import argparse
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import InputError, first_line

SAFE_SUFFIX = ".safetensors"
# Bytes at the beginning that tell what a file is.
HEAD = 9
# The length of a safetensors header stands first, in as many bytes, and may be that at most.
LENGTH, LONGEST = 8, 100_000_000
# Archives, which torch.save writes, and bare pickles.
PICKLES = (b"PK\x03\x04", b"\x80")
# Mappings around the weights: `{"model": {"state_dict": {...}}}` has two.
DEPTH = 3
# Where trainings keep the weights beside an optimiser's state; averaged ones first, as timm takes them.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net", "network", "weights", "params")
# How torch says what a pickle asks for that isn't data.
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")


def read_tensors(path: str | Path):
    """
    What a file of weights holds, on the processor.

    A pickle is read by `torch.load(weights_only=True)` alone, which rebuilds tensors, numbers, texts and containers of
    them and runs nothing. Command-line options (`argparse.Namespace`) and numpy's numbers, which many trainings put
    beside the weights, are data as well.

    Args:
        path: a file of safetensors by its first bytes, or of any name but `.safetensors` a pickle that `torch.save`
            wrote.

    Returns:
        Of safetensors a dict of tensors; of a pickle whatever was saved, in most cases a dict.

    Raises:
        InputError: there is no such file, it is empty, broken or a pickle named `.safetensors`, or it is a pickle of
            more than data, which is told without running any of it. One line.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError
        with path.open("rb") as file:
            head = file.read(HEAD)
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; expected a file of weights") from None
    except FileNotFoundError:
        raise InputError(f"{path} doesn't exist; expected a file of weights") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:  # of a name that no file can have
        raise InputError(f"{str(path)!r} can't be read: {error}") from error
    if not head:
        raise InputError(f"{path} is empty; expected a file of weights")
    # By what the file is, whatever it is called: safetensors are safe to read under any name.
    if _is_safetensors(head):
        return _safetensors(path)
    if path.suffix.lower() != SAFE_SUFFIX:
        return _pickle(path)
    if head.startswith(PICKLES):
        raise InputError(f"{path} is no safetensors file but one that torch.save has written; name it .pth")
    return _safetensors(path)


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """
    The tensors by name that a file of weights holds, also where it wraps them: `{"model": {...}, "epoch": 3}`.

    Raises:
        InputError: as for [`read_tensors`], or the file holds no tensors by name. One line.
    """
    found = _unwrapped(read_tensors(path))
    if not found:
        raise InputError(f"{path} holds no weights: expected tensors by name, or those under {' or '.join(WRAPPERS)}")
    return found


def _is_safetensors(head: bytes) -> bool:
    return head[LENGTH:] == b"{" and int.from_bytes(head[:LENGTH], "little") <= LONGEST


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is no safetensors file, or a broken one: {first_line(error)}") from error


def _pickle(path: Path):
    try:
        with torch.serialization.safe_globals(_plain_data()), warnings.catch_warnings():
            # Of pickles in another protocol than torch's own: they are read, or refused in one line.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # Of bytes that somebody made up, the reader of pickles may stumble over anything.
    except Exception as error:
        if asked := _REFUSED.search(str(error)):
            raise InputError(
                f"{path} holds more than weights ({asked[1]}), which could run any code: it is refused, and nothing "
                "of it was run. Ask its author for the weights alone, as safetensors"
            ) from error
        raise InputError(
            f"{path} is no file that torch.save has written, a damaged one, or holds more than weights; nothing of it "
            f"was run ({_reason(error)})"
        ) from error


def _plain_data() -> list:
    """What may stand in a pickle beside what torch allows: each only holds values."""
    kinds = {type(np.dtype(name)) for name in ("bool", "int32", "int64", "float16", "float32", "float64")}
    # Each release of numpy has its own name for the function that makes a number of a dtype and its bytes.
    scalar = np._core.multiarray.scalar
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [argparse.Namespace, np.dtype, *kinds, *((scalar, name) for name in names)]


def _reason(error: Exception) -> str:
    """The part of torch's message that tells of the file, not of how to switch its checks off, one sentence of it."""
    text = str(error)
    for line in text.splitlines():
        if "WeightsUnpickler error:" in line:
            return line.partition("WeightsUnpickler error:")[2].strip() or type(error).__name__
    said = first_line(error).partition(". ")[0]
    return said if text.strip() and "weights_only" not in said else "it is broken"


def _unwrapped(held, depth: int = 0) -> dict[str, torch.Tensor]:
    if not isinstance(held, Mapping) or depth > DEPTH:
        return {}
    tensors = {
        name: value.detach()
        for name, value in held.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    for name in WRAPPERS:
        if (inner := _unwrapped(held.get(name), depth + 1)) and len(inner) >= len(tensors):
            return inner
    return tensors
