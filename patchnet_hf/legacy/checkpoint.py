"""Checkpoints of fas-patchnet and of Implementation-patchnet, read without running anything that they hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..weights.plain_tensors import check_plain
from ..weights.state_dict_files import read_tensors

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
    held = read_tensors(path)
    if not isinstance(held, Mapping):
        raise InputError(f"{path} holds a {type(held).__name__}; expected a mapping with the key 'model'")
    return dict(held)


def parse_checkpoint(held: Mapping, path: str | Path) -> LegacyCheckpoint:
    """
    The weights in a checkpoint.

    Args:
        held: what [`read_checkpoint`] gave.
        path: of the file, for messages.

    Raises:
        InputError: it is of neither project, a part of the weights is missing, or a tensor is none of
            [`check_plain`][patchnet_hf.weights.plain_tensors.check_plain].
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
    found = {str(name).removeprefix(WRAPPED) if wrapped else str(name): value for name, value in part.items()}
    check_plain(found, f"checkpoint {path}")
    return found
