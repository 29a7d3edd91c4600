"""Checkpoints as fas-patchnet leaves them: its networks' names and shapes, timm's weights, and what they answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
import yaml
from torch import Tensor, nn

RESIZED, CROP, DESCRIPTOR, SCALE = 72, 64, 12, 30.0
# As the reference's code has them, for its BGR pixels.
MEAN_BGR, STD_BGR = [0.406, 0.456, 0.485], [0.225, 0.224, 0.229]
FASTVIT_LAYERS = [
    ("conv_kxk", "rbr_conv"), ("conv_scale", "rbr_scale"), ("identity", "rbr_skip"), ("large_conv", "lkb_origin"),
    ("se.fc1", "se.reduce"), ("se.fc2", "se.expand"), (".mlp.", ".convffn."), ("layer_scale.gamma", "layer_scale"),
]  # fmt: skip
RESNET_LAYERS = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"]


def fastvit_name(name: str) -> str:
    """Apple's name of a tensor of timm's FastViT."""
    for ours, theirs in FASTVIT_LAYERS:
        name = name.replace(ours, theirs)
    name = re.sub(r"^stem\.", "patch_embed.", re.sub(r"^final_conv\.", "conv_exp.", name))
    name = re.sub(r"^stages\.(\d)\.blocks\.", lambda found: f"network.{2 * int(found[1])}.", name)
    name = re.sub(r"^stages\.(\d)\.downsample\.", lambda found: f"network.{2 * int(found[1]) - 1}.", name)
    return re.sub(r"(network\.\d\.proj\.0)\.reparam_conv", r"\1.lkb_reparam", name)


def efficientformer_name(name: str) -> str:
    """Snap's name of a tensor of timm's EfficientFormerV2."""
    for number, layer in (("0", "conv1.conv"), ("1", "conv1.bn"), ("3", "conv2.conv"), ("4", "conv2.bn")):
        name = name.replace(f"stem.{layer}", f"patch_embed.{number}")
    for number in "12":
        name = name.replace(f".fc{number}.conv", f".fc{number}").replace(f".fc{number}.bn", f".norm{number}")
        name = name.replace(f".ls{number}.gamma", f".layer_scale_{number}")
    name = name.replace(".mid.conv", ".mid").replace(".mid.bn", ".mid_norm")
    name = re.sub(r"(token_mixer|attn)\.proj\.conv", r"\1.proj.1", name)
    name = re.sub(r"(token_mixer|attn)\.proj\.bn", r"\1.proj.2", name)
    name = re.sub(r"((?:token_mixer|attn)\.[\w.]+)\.conv\.", r"\1.0.", name)
    name = re.sub(r"((?:token_mixer|attn)\.[\w.]+)\.bn\.", r"\1.1.", name)
    name = name.replace("q.local.", "q.local.0.")
    name = re.sub(r"^stages\.([12])\.downsample\.conv\.conv", lambda f: f"network.{2 * int(f[1]) - 1}.proj", name)
    name = re.sub(r"^stages\.([12])\.downsample\.conv\.bn", lambda f: f"network.{2 * int(f[1]) - 1}.norm", name)
    name = re.sub(r"^stages\.3\.downsample\.conv\.", "network.5.", name)
    name = re.sub(r"^stages\.3\.downsample\.", "network.5.", name)
    return re.sub(r"^stages\.(\d)\.blocks\.", lambda found: f"network.{2 * int(found[1])}.", name)


def resnet_name(name: str) -> str:
    """The name of a tensor of torchvision's ResNet in a sequence of its layers."""
    layer, _, rest = name.partition(".")
    return f"nets.{RESNET_LAYERS.index(layer)}.{rest}"


@dataclass
class Base:
    """A backbone of the reference: timm's, what its tensors are called there, and arguments for small patches."""

    timm: str
    name: Callable[[str], str]
    prefix: str = ""
    has_head: bool = True
    arguments: dict | None = None

    def network(self, **arguments) -> nn.Module:
        return timm.create_model(self.timm, num_classes=0, **(self.arguments or {}), **arguments)


BASES = {
    **{
        f"efficientformerv2_{size}": Base(
            f"efficientformerv2_{size}", efficientformer_name, "backbone.", arguments={"img_size": CROP}
        )
        for size in ("s0", "s1", "s2", "l")
    },
    **{f"fastvit_{size}": Base(f"fastvit_{size}", fastvit_name, "backbone.") for size in ("t8", "t12", "s12")},
    "resnet18": Base("resnet18", resnet_name, has_head=False),
}


def config_of(base: str, **changes) -> dict:
    """A `config.yaml` of the reference; `model={"dropout": 0}` changes one value of a part."""
    config = {
        "log_dir": "logs",
        "device_name": "cuda",
        "seed": 42,
        "dist_timeout": 2400,
        "telegram_reports": False,
        "test_inference_speed": True,
        "dataset": {
            "num_workers": 2,
            "num_workers_val": 4,
            "name": "spoofing_combined_2023",
            "root": "~/datasets/spoofing_combined_2023",
            "resize_size": RESIZED,
            "crop_size": CROP,
            "smoothing": True,
            "augmentation": "medium2",
            "train_set": ["datasets/spoofing/ds1_train/markup.csv", "datasets/spoofing/ds2_train/"],
            "val_set": ["datasets/spoofing/ds1_val/markup.csv", "datasets/spoofing/ds2_val/"],
        },
        "model": {
            "base": base,
            "pretrained": False,
            "checkpoint_path": "",
            "resume": False,
            "resume_strict": True,
            "dropout": 0.1,
            "drop_path_rate": 0.05,
            "descriptor_size": DESCRIPTOR,
        },
        "train": {
            "val_before_train": False,
            "batch_size": 6,
            "optimizer": "adamw",
            "lr": 0.0002,
            "weight_decay": 0.00005,
            "num_epochs": 3,
            "scheduler_name": "cosr",
            "restart_epoch": 10,
            "restart_multiplier": 2,
            "load_optimizer": False,
            "load_scheduler": False,
            "balanced_sampler": True,
        },
        "loss": {"alpha1": 1.0, "alpha2": 1.0, "s": SCALE, "m_l": 0.4, "m_s": 0.1},
        "val": {"batch_size": 8},
    }
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return config


class Reference:
    """
    A network of the reference, on timm's layers, which sees BGR pixels as it does.

    Args:
        base: `model.base`.
        as_trained: gives a network weights and statistics that all differ.
        merged: with branches merged before it is saved.
    """

    def __init__(self, base: str, as_trained: Callable, merged: bool = False, descriptor_size: int = DESCRIPTOR):
        torch.manual_seed(len(base))
        self.base, self.of = base, BASES[base]
        self.network = as_trained(self.of.network(), CROP)
        if merged:
            from timm.utils.model import reparameterize_model

            self.network = reparameterize_model(self.network).eval()
        features = self.network.head_hidden_size
        self.head = torch.randn(descriptor_size, features) / features**0.5 if self.of.has_head else None
        self.fc = self._telling_apart(torch.randn(2, 3, CROP // 8, CROP // 8))

    @torch.no_grad()
    def _telling_apart(self, colours: Tensor) -> Tensor:
        """Class weights by which the scores of two pictures of coarse random colours are some units apart."""
        seen = self.descriptors(nn.functional.interpolate(colours, size=CROP, mode="bilinear") * 2)
        direction = (seen[1] - seen[0]) / (seen[1] - seen[0]).square().sum() * 2 / SCALE
        return torch.stack([-direction, 1.5 * direction])

    def descriptors(self, pixels: Tensor) -> Tensor:
        """Of normalised BGR pixels `(B, 3, H, W)`."""
        features = self.network(pixels)
        return features if self.head is None else features @ self.head.T

    def state_dict(self) -> dict[str, Tensor]:
        """As `PatchnetModel.state_dict()`."""
        prefix = f"backbone.{self.of.prefix}"
        states = {f"{prefix}{self.of.name(name)}": value for name, value in self.network.state_dict().items()}
        for name in states:
            if re.search(r"layer_scale_[12]$", name):
                states[name] = states[name].reshape(-1, 1, 1)
        for name, buffer in self.network.named_buffers():
            if name.endswith("attention_bias_idxs"):
                states[f"{prefix}{self.of.name(name)}"] = buffer
        if self.head is not None:
            states[f"{prefix}head.weight"] = self.head
        return {**states, "patch_loss.amsm_loss.fc.weight": self.fc}

    def save(self, path: Path, **changes) -> Path:
        """Writes a checkpoint of epoch 12."""
        weights = nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.AdamW([weights])
        schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10, 2, eta_min=1e-16)
        held = {
            "epoch": 12,
            "model": self.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": schedule.state_dict(),
            "val_loss": 0,
            "val_acc": 0,
        }
        torch.save({**held, **changes}, path)
        return path

    @torch.no_grad()
    def scores(self, picture: np.ndarray) -> np.ndarray:
        """Its class scores of an RGB picture `(H, W, 3)`, `(2,)`: OpenCV's way to them, in its colours."""
        resized = cv2.resize(picture[..., ::-1], (RESIZED, RESIZED), interpolation=cv2.INTER_AREA)
        first = (RESIZED - CROP) // 2
        crop = resized[first : first + CROP, first : first + CROP]
        pixels = (crop / 255 - MEAN_BGR) / STD_BGR
        descriptors = self.descriptors(torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float())
        return (descriptors @ self.fc.T)[0].numpy()

    def live_log_odds(self, picture: np.ndarray) -> float:
        """Of the softmax that `PatchnetModel.predict` gives."""
        spoof, live = self.scores(picture)
        return float(SCALE * (live - spoof))


def write_config(path: Path, base: str, **changes) -> Path:
    path.write_text(yaml.safe_dump(config_of(base, **changes), sort_keys=False))
    return path
