"""Nested training state (optimiser, schedule, random generators) in safetensors files: nothing to unpickle."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

STRUCTURE = "structure"


def save_state(path: str | Path, state) -> None:
    """
    Writes nested dicts, lists and tuples of tensors, numbers, strings, booleans and None as one safetensors file.

    Tensors are the file's tensors, under numbers in order of appearance; all else is JSON in its metadata. Floats keep
    every digit.

    Args:
        path: file to write.
        state: for example an optimiser's `state_dict()`.

    Raises:
        TypeError: the state holds something else.
        OSError, safetensors.SafetensorError: the file can't be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_described(state, tensors))
    save_file(tensors, path, metadata={STRUCTURE: structure})


def load_state(path: str | Path):
    """
    What [`save_state`] wrote, its tensors on the CPU and contiguous.

    Raises:
        ValueError: the file is of another kind.
        OSError, safetensors.SafetensorError: the file is missing or broken.
    """
    with safe_open(path, framework="pt") as file:
        structure = (file.metadata() or {}).get(STRUCTURE)
        if structure is None:
            raise ValueError(f"{path} holds no training state")
        return _rebuilt(json.loads(structure), file)


def _described(value, tensors: dict[str, torch.Tensor]):
    # JSON knows neither tuples nor keys that aren't strings, so every container carries its kind.
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        # A copy, because safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_described(key, tensors), _described(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_described(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"training state holds a {type(value).__name__}, which has no place in a safetensors file")


def _rebuilt(description, file):
    if not isinstance(description, dict):
        return description
    ((kind, content),) = description.items()
    if kind == "tensor":
        return file.get_tensor(content)
    if kind == "dict":
        return {_rebuilt(key, file): _rebuilt(item, file) for key, item in content}
    items = [_rebuilt(item, file) for item in content]
    return items if kind == "list" else tuple(items)
