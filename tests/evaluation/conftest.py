"""Scored sets of random numbers, with all that a dataset may say of its captures."""

import numpy as np
import pytest

from patchnet_hf.evaluation.scored_set import COLUMNS, ScoredSet


@pytest.fixture
def random_set():
    """Makes a set of `count` images: subjects of eight, each with videos of two that show one presentation."""

    def make(name="val", count=160, seed=0, separation=2.0, types=("print", "replay"), **changes) -> ScoredSet:
        random = np.random.default_rng(seed)
        video = np.arange(count) // 2
        labels = (video % 2).astype(np.int64)
        kinds = [types[clip // 2 % len(types)] for clip in video]
        subjects = [f"person {index // 8}" for index in range(count)]
        columns = {
            **{column: [None] * count for column in COLUMNS},
            "patch_type": [f"phone/{'live' if label else kind}" for label, kind in zip(labels, kinds, strict=True)],
            "source": ["mine"] * count,
            "subject": subjects,
            "video": [f"video {index % 8 // 2}" for index in range(count)],
            "device": ["phone"] * count,
        }
        fields = {
            "files": [f"faces/{index:04d}.jpg" for index in range(count)],
            "scores": random.normal(separation * (2 * labels - 1), 2.0),
            "labels": labels,
            "attack_types": ["bonafide" if label else kind for label, kind in zip(labels, kinds, strict=True)],
            "patch_scores": random.normal(size=(count, 4)),
            "columns": columns | changes.pop("columns", {}),
            "fingerprint": f"{seed:016x}",
            **changes,
        }
        return ScoredSet(name, **fields)

    return make
