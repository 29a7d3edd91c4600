"""Starting a new model from the weights of a trained one."""

from pathlib import Path

import torch
from safetensors import SafetensorError

from ..errors import InputError, first_line
from ..file_names import CONFIG_FILE
from ..models import PatchNetConfig, PatchNetForImageClassification

TYPE_WEIGHTS = "classifier.weight"
SHOWN = 20


@torch.no_grad()
def initialize_from(
    network: PatchNetForImageClassification, source: str, strict: bool = True, revision: str | None = None
) -> list[str]:
    """
    Copies the weights of a PatchNet model into `network` wherever names and shapes agree.

    The weights of the patch types go by the types' names, not by their position: another training set has others.

    Args:
        network: filled in place.
        source: folder of a model or checkpoint, or a model id of the Hub.
        strict: whether everything has to match.
        revision: branch, tag or commit, of a model of the Hub.

    Returns:
        What didn't match, a line each: weights that `network` keeps as they were, and weights of `source` left over.

    Raises:
        InputError: `source` can't be loaded; nothing at all matches; or `strict`, and something doesn't match.
    """
    held, types = read_weights(source, revision)
    wanted = network.state_dict()
    fitting, notes = {}, []
    for name, tensor in wanted.items():
        if name == TYPE_WEIGHTS:
            fitting[name] = _by_type(tensor, network.config.patch_types, held.get(name), types, notes)
        elif name not in held:
            notes.append(f"{name}: not in {source}")
        elif held[name].shape != tensor.shape:
            notes.append(f"{name}: {tuple(held[name].shape)} in {source}, {tuple(tensor.shape)} here")
        else:
            fitting[name] = held[name]
    notes += [f"{name}: only in {source}" for name in held if name not in wanted]
    if all(name == TYPE_WEIGHTS for name in fitting):
        raise InputError(f"init_from {source}: no weight fits the backbone {network.config.backbone!r}")
    if strict and notes:
        raise InputError(
            f"init_from {source} doesn't match: {'; '.join(shortened(notes, 5))}; --strict false takes what matches"
        )
    network.load_state_dict(fitting, strict=False)
    return notes


def read_weights(source: str, revision: str | None = None) -> tuple[dict[str, torch.Tensor], list[str]]:
    """
    The weights and the patch types of a PatchNet model, from a folder or a revision of the Hub.

    Raises:
        InputError: there is no such model, it is of another type, or its weights are broken.
    """
    if Path(source).exists() and not (Path(source) / CONFIG_FILE).is_file():
        raise InputError(f"init_from {source} holds no model (no config.json)")
    try:
        settings, _ = PatchNetConfig.get_config_dict(source, revision=revision)
        if settings.get("model_type") != PatchNetConfig.model_type:
            raise InputError(f"init_from {source} is a model of type {settings.get('model_type')!r}, not PatchNet")
        model, loading = PatchNetForImageClassification.from_pretrained(
            source, revision=revision, output_loading_info=True
        )
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"init_from {source} can't be loaded: {first_line(error)}") from error
    lost = {str(key[0] if isinstance(key, tuple) else key) for key in loading["mismatched_keys"]}
    lost |= set(loading["missing_keys"])
    # What wasn't in the file has been filled at random and is no weight of that model.
    return {name: tensor for name, tensor in model.state_dict().items() if name not in lost}, model.config.patch_types


def shortened(lines: list[str], count: int = SHOWN) -> list[str]:
    """The first `count` lines, and how many more there are.

    >>> shortened(["a", "b", "c"], 2)
    ['a', 'b', '... and 1 more']
    """
    return lines if len(lines) <= count else [*lines[:count], f"... and {len(lines) - count} more"]


def _by_type(weight, here: list[str], held, there: list[str], notes: list[str]) -> torch.Tensor:
    """Rows of `held` for the patch types that both models know; the other rows of `weight` stay."""
    if held is None or held.shape[1] != weight.shape[1]:
        notes.append(f"{TYPE_WEIGHTS}: {'not there' if held is None else 'embeddings of another size'}")
        return weight
    rows = weight.clone()
    for index, name in enumerate(here):
        if name in there:
            rows[index] = held[there.index(name)].to(rows)
    if new := [name for name in here if name not in there]:
        notes.append(f"{TYPE_WEIGHTS}: new patch types {', '.join(new)}")
    if gone := [name for name in there if name not in here]:
        notes.append(f"{TYPE_WEIGHTS}: patch types only there {', '.join(gone)}")
    return rows
