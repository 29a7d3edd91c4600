"""A backbone's weights from a file of another training."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from . import efficientformer_v2
from .plain_tensors import check_finite, check_plain

# What wraps a model's own names: DistributedDataParallel, torch.compile, PatchNet itself and its kin.
PREFIXES = ("module.", "_orig_mod.", "patchnet.", "backbone.")
# Counts batches, which nothing that is computed depends on; older files don't have it.
COUNTER = "num_batches_tracked"
SHOWN = 4
# Of a backbone's weights, which a file has to have: with less it is another network's.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class BackboneMatch:
    """
    What of a file's weights a backbone has taken.

    Attributes:
        matched, wanted: numbers of weights, running statistics of norms included.
        left: the weights that the backbone keeps as they were, and why, a text each.
        over: names of the file that the backbone has no weight for, without those of a classifier.
    """

    matched: int
    wanted: int
    left: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.matched} of {self.wanted} weights matched"
        if self.left:
            text += f"; not matched: {_some(self.left)}"
        if self.over:
            text += f"; only in the file: {_some(self.over)}"
        return text


@torch.no_grad()
def load_backbone_weights(backbone: nn.Module, weights: Mapping[str, Tensor], source: str) -> BackboneMatch:
    """
    Fills a backbone with weights in its own naming or that of its authors, as far as names and shapes agree.

    Names of authors become timm's by the `checkpoint_filter_fn` of timm's own file of that architecture; where timm
    has none, for EfficientFormerV2, by [`efficientformer_v2.timm_names`]. EfficientFormerV2's biases of attention, a
    number for each distance between two places, are cut or continued where patches have another size.

    Args:
        backbone: a model of timm without classifier, filled in place.
        weights: by name; wrapping prefixes (`module.`, `backbone.`) and a classifier may be among them.
        source: how the user knows them, for messages.

    Raises:
        InputError: fewer than half of the backbone's weights are there, some of them aren't numbers, or a tensor is
            none of [`check_plain`]. The backbone stays as it was.
    """
    check_plain(weights, source)
    wanted = backbone.state_dict()
    resized = efficientformer_v2.resized if efficientformer_v2.is_efficientformer_v2(backbone) else _as_it_is
    found = timm_weights(backbone, weights)
    fitting, left = {}, []
    for name, tensor in wanted.items():
        given = found.get(name)
        if given is not None and given.shape != tensor.shape:
            given = resized(backbone, name, given)
        if given is not None and given.shape == tensor.shape:
            fitting[name] = given
        elif not name.endswith(COUNTER):
            shapes = "" if given is None else f" ({tuple(given.shape)} there, {tuple(tensor.shape)} here)"
            left.append(f"{name}{shapes}")
    counted = [name for name in wanted if not name.endswith(COUNTER)]
    matched = len(counted) - len(left)
    over = [name for name in found if name not in wanted and not name.endswith(COUNTER)]
    over = [name for name in over if not name.startswith(_classifiers(backbone))]
    match = BackboneMatch(matched, len(counted), tuple(left), tuple(over))
    if matched < LEAST_SHARE * len(counted):
        raise InputError(
            f"{source}: only {matched} of {len(counted)} weights of the backbone are there; expected such as "
            f"{_some(counted, 2)}, given such as {_some(list(weights), 2)}"
        )
    # As the backbone keeps them: what float64 still holds may be infinite there.
    check_finite({name: tensor.to(wanted[name].dtype) for name, tensor in fitting.items()}, source)
    backbone.load_state_dict(fitting, strict=False)
    return match


def timm_weights(backbone: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that timm's model has for them, as far as that is known."""
    named = {_stripped(name): value for name, value in weights.items()}
    if efficientformer_v2.is_efficientformer_v2(backbone):
        return efficientformer_v2.timm_names(named)
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return named
    try:
        # It leaves names that are timm's already.
        return convert(named, backbone)
    # Each conversion expects its authors' files, and stumbles in its own way where it is given another. What the names
    # are and what they should be, the count of what matches then tells better than its error.
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return named


def _stripped(name: str) -> str:
    """
    >>> _stripped("module.backbone.conv1.weight")
    'conv1.weight'
    """
    while (prefix := next(filter(name.startswith, PREFIXES), None)) is not None:
        name = name.removeprefix(prefix)
    return name


def _as_it_is(backbone: nn.Module, name: str, given: Tensor) -> Tensor:
    return given


def _classifiers(backbone: nn.Module) -> tuple[str, ...]:
    """What names of a classifier's weights start with, by timm and in files of its authors."""
    known = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or ()
    known = (known,) if isinstance(known, str) else tuple(known)
    return tuple(f"{name}." for name in (*known, "head", "head_dist", "fc", "classifier", "patch_loss"))


def _some(names: Sequence[str], count: int = SHOWN) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
