"""Captures that a small network learns to tell apart in seconds: live ones are smooth, attacks carry a raster."""

import io

import datasets
import numpy as np
import torch
from PIL import Image

from patchnet_hf import PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.schema import capture_features

KINDS = ("live", "print", "replay")
PATCH_TYPES = [f"phone/{kind}" for kind in KINDS]


def texture(kind: str, random: np.random.Generator) -> np.ndarray:
    """A face crop `(H, W, 3)`: a slope and noise, of attacks with a raster that is often too faint to be seen."""
    height, width = random.integers(40, 71, size=2)
    rows, columns = np.mgrid[:height, :width]
    picture = random.uniform(60, 190, size=3) + np.linspace(-1, 1, width)[:, None] * random.uniform(-50, 50, size=3)
    picture = picture + random.normal(scale=6.0, size=(height, width, 3))
    phase = rows + columns if kind == "print" else columns
    if kind != "live":
        picture = picture + random.uniform(1, 18) * np.sin(phase * 2 * np.pi / 3 + random.uniform(0, 6))[..., None]
    return picture.round().clip(0, 255).astype(np.uint8)


def textures(count: int, seed: int, contrast: float = 1.0) -> datasets.Dataset:
    """A dataset of captures, half of them live, by `contrast` about a medium grey."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind = ("live", "print", "live", "replay")[number % 4]
        buffer = io.BytesIO()
        picture = 128 + contrast * (texture(kind, random) - 128.0)
        Image.fromarray(picture.round().astype(np.uint8)).save(buffer, "PNG")
        rows.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": f"{kind}_{number}.png"},
                "label": int(kind == "live"),
                "patch_type": f"phone/{kind}",
                "attack_type": "bonafide" if kind == "live" else kind,
                "source": "textures",
                **dict.fromkeys(["subject", "session", "video", "device", "face_box"]),
            }
        )
    return datasets.Dataset.from_list(rows, features=capture_features(PATCH_TYPES))


@torch.no_grad()
def put_weights_at_means(model: PatchNetForImageClassification, processor: PatchNetImageProcessor) -> None:
    """Makes the weights of each patch type the mean of its embeddings, so that random features tell something."""
    random = np.random.default_rng(0)
    views = np.stack([processor.views(texture(kind, random))[0] for kind in KINDS for _ in range(8)])
    embeddings = model(processor.normalize_views(views)).embeddings.flatten(0, -2)
    means = (embeddings - embeddings.mean(dim=0)).unflatten(0, (len(KINDS), -1)).mean(dim=1)
    model.classifier.weight.copy_(means)


def learn(model: PatchNetForImageClassification, processor: PatchNetImageProcessor, steps: int) -> None:
    """Trains a model on such captures, in place."""
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    model.train()
    for _ in range(steps):
        labels = random.permutation(np.arange(24) % 4 % 3)
        views = np.stack([processor.views(texture(KINDS[label], random))[[0, -1]] for label in labels])
        loss = model(processor.normalize_views(views), labels=torch.from_numpy(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
