"""Weights of timm's models under the names that the authors' own code gives them.

Written from the modules that the two repositories publish: github.com/snap-research/EfficientFormer,
models/efficientformer_v2.py, and github.com/apple/ml-fastvit, models/fastvit.py with models/modules/mobileone.py and
replknet.py. The way back, from these names to timm's, is what is tested.
"""

import itertools

import torch
from torch import Tensor, nn

# Of a convolution and its norm in timm, places in a sequence of the authors'.
PAIR, AFTER_ACTIVATION = ("0", "1"), ("1", "2")


def of_efficientformer_v2(model: nn.Module) -> dict[str, Tensor]:
    """As a checkpoint of snap-research's code has them, indices of attention biases included."""
    named = {}
    for name, value in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "stem":
            place = {"conv1": 0, "conv2": 3}[parts[1]] + (parts[2] == "bn")
            parts = ["patch_embed", str(place), *parts[3:]]
        elif parts[0] == "stages":
            parts = _stage(int(parts[1]), parts[2:])
        elif parts[0] == "head_dist":
            parts[0] = "dist_head"
        if parts[-1] in ("layer_scale_1", "layer_scale_2"):
            value = value[:, None, None]
        named[".".join(parts)] = value
    for name, module in model.named_modules():
        if hasattr(module, "attention_bias_idxs"):
            _, stage, *rest = f"{name}.attention_bias_idxs".split(".")
            named[".".join(_stage(int(stage), rest))] = _offsets(module)
    return named


def _stage(stage: int, parts: list[str]) -> list[str]:
    if parts[0] == "downsample":
        place = ["network", str(2 * stage - 1)]
        if parts[1] == "attn":
            return [*place, "attn", *_attention(parts[2:])]
        # With attention beside it, the convolution has other names.
        names = {"conv": "conv", "bn": "bn"} if stage == 3 else {"conv": "proj", "bn": "norm"}
        return [*place, names[parts[2]], *parts[3:]]
    place, rest = ["network", str(2 * stage), parts[1]], parts[2:]
    if rest[0] in ("ls1", "ls2"):
        return [*place, f"layer_scale_{rest[0][-1]}"]
    if rest[0] == "mlp":
        norms = {"fc1": "norm1", "mid": "mid_norm", "fc2": "norm2"}
        return [*place, "mlp", rest[1] if rest[2] == "conv" else norms[rest[1]], *rest[3:]]
    return [*place, "token_mixer", *_attention(rest[1:])]


def _attention(parts: list[str]) -> list[str]:
    if parts[0].startswith(("attention_", "talking_")):
        return parts
    if parts[0] == "q" and parts[1] == "local":
        return ["q", "local", "0", *parts[2:]]
    if parts[0] == "q" and parts[1] == "proj":
        return ["q", "proj", PAIR[parts[2] == "bn"], *parts[3:]]
    places = AFTER_ACTIVATION if parts[0] == "proj" else PAIR
    return [parts[0], places[parts[1] == "bn"], *parts[2:]]


def _offsets(module: nn.Module) -> Tensor:
    """Their own numbering of distances: in the order in which they occur from one place after the other."""
    rows, columns = module.resolution
    places = list(itertools.product(range(rows), range(columns)))
    # Where attention halves the resolution, it looks from every other place.
    halves = hasattr(module, "resolution2")
    seen_from = [place for place in places if not halves or not (place[0] % 2 or place[1] % 2)]
    numbers: dict[tuple[int, int], int] = {}
    found = []
    for row, column in seen_from:
        for other_row, other_column in places:
            offset = (abs(row - other_row), abs(column - other_column))
            found.append(numbers.setdefault(offset, len(numbers)))
    return torch.tensor(found).view(len(seen_from), len(places))


def of_fastvit(model: nn.Module) -> dict[str, Tensor]:
    """As a checkpoint of apple's code has them."""
    # One flat list: a stage, what leads to the next one, perhaps a position embedding, the next stage ...
    places, counted = {}, 0
    for number, stage in enumerate(model.stages):
        for part in ("downsample", "pos_emb", "blocks"):
            if any(True for _ in getattr(stage, part).parameters()):
                places[number, part] = counted
                counted += 1
    renamed = {
        "conv_kxk": "rbr_conv",
        "conv_scale": "rbr_scale",
        "identity": "rbr_skip",
        "large_conv": "lkb_origin",
        "mlp": "convffn",
        "pos_enc": "pe",
        "fc": "",
    }
    named = {}
    for name, value in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "stages":
            parts = ["network", str(places[int(parts[1]), parts[2]]), *parts[3:]]
        elif parts[0] == "stem":
            parts[0] = "patch_embed"
        elif parts[0] == "final_conv":
            parts[0] = "conv_exp"
        if "se" in parts:
            parts = [{"fc1": "reduce", "fc2": "expand"}.get(part, part) for part in parts]
        if parts[-1] == "gamma":
            parts = parts[:-1]
        named[".".join(filter(None, (renamed.get(part, part) for part in parts)))] = value
    return named
