"""Scoring an Arrow dataset."""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.schema import capture_features
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.scored_set import COLUMNS
from patchnet_hf.evaluation.scoring import image_digests, score_dataset
from patchnet_hf.inference.scorers import TorchScorer

TYPES = ["phone/live", "phone/print"]


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def captures(seeds=(0, 1, 2, 3, 4), **changes) -> datasets.Dataset:
    labels = [seed % 2 for seed in seeds]
    columns = {
        "image": [{"bytes": png(seed), "path": f"faces/{seed}.png"} for seed in seeds],
        "label": labels,
        "patch_type": [1 - label for label in labels],
        "attack_type": ["bonafide" if label else "print" for label in labels],
        "source": ["mine"] * len(labels),
        "subject": [f"person {seed}" for seed in seeds],
        "session": [None] * len(labels),
        "video": [None] * len(labels),
        "device": ["phone"] * len(labels),
        "face_box": [[5, 5, 40, 40] if seed == 2 else None for seed in seeds],
        **changes,
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(TYPES))


@pytest.fixture(scope="module")
def scorer():
    torch.manual_seed(0)
    config = PatchNetConfig(backbone="test_convnext", patch_types=TYPES, live_patch_types=TYPES[:1], image_size=32)
    return TorchScorer("model", PatchNetForImageClassification(config), PatchNetImageProcessor(patch_size=32, grid=2))


@pytest.mark.parametrize("workers", [0, 1])
def test_scores_are_those_of_processor_and_model_in_the_datasets_order(scorer, workers):
    dataset = captures()
    scored = score_dataset(scorer, dataset, "val", batch_size=2, workers=workers)
    for index, row in enumerate(dataset):
        inputs = scorer.processor(row["image"], face_boxes=row["face_box"], return_tensors="pt")
        with torch.no_grad():
            logits = scorer.model(**inputs).logits.double()[0]
        assert scored.scores[index] == pytest.approx((logits[1] - logits[0]).item(), abs=1e-4)
    assert scored.files == [f"faces/{seed}.png" for seed in range(5)]
    assert scored.labels.tolist() == [0, 1, 0, 1, 0] and scored.attack_types[:2] == ["print", "bonafide"]
    assert scored.patch_scores.shape == (5, 4)
    assert set(scored.columns) == set(COLUMNS)
    assert scored.columns["patch_type"][:2] == ["phone/print", "phone/live"]
    assert scored.columns["subject"][4] == "person 4" and scored.columns["video"] == [None] * 5


def test_the_fingerprint_is_of_what_was_scored_and_not_of_where_it_lies(scorer, tmp_path):
    def fingerprint(dataset):
        return score_dataset(scorer, dataset, "val").fingerprint

    first = fingerprint(captures())
    captures().save_to_disk(tmp_path / "saved")
    assert fingerprint(datasets.load_from_disk(str(tmp_path / "saved"))) == first
    others = [captures(range(4)), captures([0, 1, 2, 3, 6]), captures([1, 0, 2, 3, 4]), captures(face_box=[None] * 5)]
    others.append(captures(attack_type=["mask", "bonafide", "print", "bonafide", "print"]))
    assert len({first, *map(fingerprint, others)}) == 6


def test_a_capture_that_cannot_be_decoded_is_named(scorer):
    broken = captures(image=[{"bytes": png(seed) if seed != 3 else b"no", "path": f"{seed}.png"} for seed in range(5)])
    with pytest.raises(InputError, match=r"val: capture 3 \(3\.png\)"):
        score_dataset(scorer, broken, "val")


def test_nothing_to_score_is_refused(scorer):
    with pytest.raises(InputError, match="no captures"):
        score_dataset(scorer, captures().select([]), "val")


def test_an_image_is_known_again_by_its_bytes_alone(tmp_path):
    first = image_digests(captures(), "val")
    assert len(set(first)) == 5
    others = captures([4, 3, 2, 1, 0], attack_type=["mask"] * 5, face_box=[None] * 5)
    assert image_digests(others, "val") == first[::-1]
    # Captures that are still files of their own are told apart by what the files hold.
    for seed in range(2):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    files = captures([0, 1], image=[str(tmp_path / f"{seed}.png") for seed in range(2)])
    assert image_digests(files, "val") == first[:2]
    (tmp_path / "1.png").write_bytes(png(7))
    assert image_digests(files, "val")[1] not in first
    (tmp_path / "1.png").unlink()
    with pytest.raises(InputError, match=r"val: capture 1 \(.*1\.png\)"):
        image_digests(files, "val")
