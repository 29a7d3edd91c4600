"""Checkpoints of fas-patchnet and of Implementation-patchnet, read without running anything that they hold."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError

FAS_PATCHNET = "fas-patchnet"
ORIGINAL = "Implementation-patchnet"
# Of the two class weights, after "patch_loss." in the one and in the loss of its own in the other.
CLASS_WEIGHTS = "amsm_loss.fc.weight"
BACKBONE = "backbone."
LOSS = "patch_loss."
# What `DistributedDataParallel` puts before every name.
WRAPPED = "module."


@dataclass(frozen=True, eq=False)
class LegacyCheckpoint:
    """
    The weights of a checkpoint.

    Attributes:
        origin: `"fas-patchnet"` or `"Implementation-patchnet"`.
        epoch: after which it was saved, counted from 0, if it says so.
        backbone: names, without the prefix `backbone.`, to tensors.
        class_weights: `(2, D)`, row 0 of spoof and row 1 of live; not normalised and not scaled.
        leftover: names that belong to neither.
    """

    origin: str
    epoch: int | None
    backbone: dict[str, Tensor]
    class_weights: Tensor
    leftover: list[str]


def read_checkpoint(path: str | Path) -> dict:
    """
    What a file written by `torch.save` holds, if that is tensors and plain values alone.

    Raises:
        InputError: the file is missing, is no such file, or holds anything else; nothing of it has been run.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path} " + ("is a folder" if path.is_dir() else "doesn't exist"))
    if not path.stat().st_size:
        raise InputError(f"checkpoint {path} is empty")
    try:
        with warnings.catch_warnings():
            # It warns of a protocol that it then refuses.
            warnings.simplefilter("ignore", UserWarning)
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"checkpoint {path} {_refusal(str(error))}") from error
    except OSError as error:
        raise InputError(f"checkpoint {path} can't be read: {error.strerror or error}") from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
    ) as e:
        # Whatever a broken file makes torch stumble over.
        raise InputError(f"checkpoint {path} is no file that torch.save has written, or a damaged one") from e
    if not isinstance(held, Mapping):
        raise InputError(f"checkpoint {path} holds a {type(held).__name__}; expected a mapping with the key 'model'")
    return dict(held)


def _refusal(reason: str) -> str:
    """What to say of a file that torch's safe reader refused, for this reason."""
    named = re.search(r"GLOBAL ([\w.]+)", reason)
    if named is not None and "not an allowed global" in reason:
        return (
            f"holds {named.group(1)}, which is neither a tensor nor a plain value and could run any code; nothing of "
            "it was run. Save the weights anew where you trust them: torch.save({'model': model.state_dict()}, FILE)"
        )
    return (
        "is no file that torch.save has written, or holds more than tensors and plain values, which could run any "
        "code; nothing of it was run"
    )


def parse_checkpoint(held: Mapping, path: str | Path) -> LegacyCheckpoint:
    """
    The weights in a checkpoint.

    Args:
        held: what [`read_checkpoint`] gave.
        path: of the file, for messages.

    Raises:
        InputError: it is of neither project, or a part of the weights is missing.
    """
    if "state_dict" in held and "loss" in held:
        origin, backbone, loss, leftover = (
            ORIGINAL,
            _tensors(held, "state_dict", path),
            _tensors(held, "loss", path),
            [],
        )
    elif "model" in held:
        origin = FAS_PATCHNET
        network = _tensors(held, "model", path)
        backbone = {name.removeprefix(BACKBONE): value for name, value in network.items() if name.startswith(BACKBONE)}
        loss = {name.removeprefix(LOSS): value for name, value in network.items() if name.startswith(LOSS)}
        leftover = [name for name in network if not name.startswith((BACKBONE, LOSS))]
    else:
        keys = ", ".join(sorted(map(str, held))[:6]) or "nothing"
        raise InputError(
            f"checkpoint {path} is of neither fas-patchnet (key 'model') nor Implementation-patchnet (keys "
            f"'state_dict' and 'loss'); it has {keys}"
        )
    if not backbone:
        raise InputError(f"checkpoint {path} has no weight under {BACKBONE!r}, where {origin} keeps its backbone")
    class_weights = loss.pop(CLASS_WEIGHTS, None)
    if class_weights is None:
        raise InputError(f"checkpoint {path} has no {LOSS}{CLASS_WEIGHTS}, the weights of the two classes")
    if class_weights.ndim != 2 or len(class_weights) != 2:
        raise InputError(f"checkpoint {path}: {CLASS_WEIGHTS} has shape {tuple(class_weights.shape)}; expected (2, D)")
    leftover += [f"{LOSS}{name}" for name in loss]
    epoch = held.get("epoch")
    return LegacyCheckpoint(origin, epoch if isinstance(epoch, int) else None, backbone, class_weights, leftover)


def _tensors(held: Mapping, key: str, path: str | Path) -> dict[str, Tensor]:
    """The tensors by name of one part of a checkpoint, without the prefix of a distributed training."""
    part = held[key]
    if not isinstance(part, Mapping) or not all(isinstance(value, Tensor) for value in part.values()):
        raise InputError(f"checkpoint {path}: {key!r} is no mapping of names to tensors")
    wrapped = bool(part) and all(str(name).startswith(WRAPPED) for name in part)
    return {str(name).removeprefix(WRAPPED) if wrapped else str(name): value for name, value in part.items()}
