"""A converted model gives the scores that the reference's network gives, by OpenCV's way from its BGR pixels."""

import json
import math
import pickle
from copy import copy

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from patchnet_hf import PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.legacy.conversion import convert_checkpoint
from patchnet_hf.legacy.report import conversion_report

CONVERTED = [
    ("efficientformerv2_s0", False),
    ("fastvit_t8", False),
    ("fastvit_t8", True),
    ("resnet18", False),
]


def log_odds(folder, picture) -> float:
    model = PatchNetForImageClassification.from_pretrained(folder).eval()
    processor = PatchNetImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**processor(picture, return_tensors="pt")).logits
    return float(logits[0, 1] - logits[0, 0])


@pytest.mark.parametrize(("base", "merged"), CONVERTED)
def test_scores_are_the_references(files_of, pictures, tmp_path, base, merged):
    network, checkpoint, config = files_of(base, merged)
    conversion = convert_checkpoint(checkpoint, config, tmp_path / "model")
    expected = np.array([network.live_log_odds(picture) for picture in pictures])
    given = np.array([log_odds(tmp_path / "model", picture) for picture in pictures])
    assert np.ptp(expected) > 0.2, "the pictures matter"
    # A pixel that OpenCV rounds the other way is one of 255 values off.
    np.testing.assert_allclose(given, expected, atol=0.02 * np.ptp(expected))
    assert conversion.config.backbone_kwargs.get("inference_mode", False) is merged
    assert sum(count for count, _ in conversion.parts.values()) == len(load_file(tmp_path / "model/model.safetensors"))


@pytest.mark.parametrize(("base", "merged"), CONVERTED)
def test_scores_of_the_same_pixels_are_equal_but_for_rounding(files_of, tmp_path, base, merged):
    network, checkpoint, config = files_of(base, merged)
    convert_checkpoint(checkpoint, config, tmp_path / "model")
    # Nothing to resize, so that no pixel is rounded.
    picture = np.random.default_rng(1).integers(0, 256, (72, 72, 3), dtype=np.uint8)
    assert log_odds(tmp_path / "model", picture) == pytest.approx(network.live_log_odds(picture), abs=2e-4)


def test_turning_the_colours_matters(files_of, tmp_path):
    network, checkpoint, config = files_of("fastvit_t8")
    convert_checkpoint(checkpoint, config, tmp_path / "model")
    picture = np.random.default_rng(1).integers(0, 256, (72, 72, 3), dtype=np.uint8)
    picture[..., 0] //= 3
    assert abs(log_odds(tmp_path / "model", picture[..., ::-1].copy()) - network.live_log_odds(picture)) > 0.01


def test_two_sigmoids_become_a_calibration(files_of, reference, pictures, tmp_path):
    trained, _, config = files_of("resnet18")
    network = copy(trained)
    network.fc = torch.stack([-trained.fc[1], trained.fc[1]])
    checkpoint = network.save(tmp_path / "opposite.pth")
    convert_checkpoint(checkpoint, config, tmp_path / "model", rescaling="sigmoid")
    for picture in pictures:
        live = network.scores(picture)[1]
        # With opposite class scores, the graph's live output is the calibrated probability.
        assert 1 / (1 + math.exp(-log_odds(tmp_path / "model", picture))) == pytest.approx(
            1 / (1 + math.exp(-0.1 * live)), abs=1e-4
        )
    settings = json.loads((tmp_path / "model/config.json").read_text())
    assert settings["calibration"] == {"scale": pytest.approx(0.1 / 60), "bias": 0}


def test_of_two_sigmoids_the_larger_one_wins(files_of, reference, pictures, tmp_path, as_trained):
    network, checkpoint, config = files_of("fastvit_t8")
    convert_checkpoint(checkpoint, config, tmp_path / "model", rescaling="sigmoid")
    for picture in pictures:
        spoof, live = network.scores(picture)
        assert log_odds(tmp_path / "model", picture) == pytest.approx(0.1 * (live - spoof) / 2, abs=2e-4)


def test_linear_rescaling_is_dropped_with_the_reason(files_of, tmp_path):
    _, checkpoint, config = files_of("resnet18")
    conversion = convert_checkpoint(checkpoint, config, tmp_path / "model", rescaling="linear")
    assert conversion.config.calibration is None
    assert "95th percentile" in conversion_report(conversion)
    assert "95th" not in conversion_report(convert_checkpoint(checkpoint, config, tmp_path / "other"))


def test_the_folder_loads_with_its_own_code(files_of, pictures, tmp_path):
    network, checkpoint, config = files_of("efficientformerv2_s0")
    convert_checkpoint(checkpoint, config, tmp_path / "model")
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "model", trust_remote_code=True).eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert {"modeling_patchnet.py", "image_processing_patchnet.py"} <= {p.name for p in (tmp_path / "model").iterdir()}
    with torch.no_grad():
        logits = model(**processor(pictures[2], return_tensors="pt")).logits
    assert float(logits[0, 1] - logits[0, 0]) == pytest.approx(network.live_log_odds(pictures[2]), abs=2e-4)
    assert processor.resampling == "area" and (processor.resize_size, processor.patch_size) == (72, 64)
    assert processor.image_mean == [0.485, 0.456, 0.406] and processor.image_std == [0.229, 0.224, 0.225]


def test_a_distributed_trainings_names_are_understood(files_of, tmp_path):
    network, checkpoint, config = files_of("resnet18")
    wrapped = network.save(
        tmp_path / "wrapped.pth", model={f"module.{name}": value for name, value in network.state_dict().items()}
    )
    convert_checkpoint(checkpoint, config, tmp_path / "one")
    convert_checkpoint(wrapped, config, tmp_path / "other")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "other"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_report_counts_what_was_mapped(files_of, tmp_path):
    network, checkpoint, config = files_of("efficientformerv2_s0")
    report = conversion_report(convert_checkpoint(checkpoint, config, tmp_path / "model"))
    count = len(network.network.state_dict())
    numbers = sum(value.numel() for value in network.network.state_dict().values())
    assert f"backbone          {count}  {numbers:,}".split() == report.splitlines()[4].split()
    assert "saved after epoch 12" in report and "turned from BGR to RGB: stem.conv1.conv.weight" in report
    assert "5 index buffers left out" in report
    assert json.loads((tmp_path / "model/conversion.json").read_text())["epoch"] == 12


class Harmful:
    """What runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("by_torch", [True, False])
def test_a_malicious_pickle_is_refused_and_nothing_is_run(files_of, tmp_path, protocol, by_torch):
    network, _, config = files_of("resnet18")
    marker, path = tmp_path / "was_run", tmp_path / "harmful.pth"
    held = {"model": network.state_dict(), "epoch": Harmful(marker)}
    if by_torch:
        torch.save(held, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps({"epoch": Harmful(marker)}, protocol=protocol))
    with pytest.raises(InputError, match="nothing of it was run") as refused:
        convert_checkpoint(path, config, tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert not marker.exists() and not (tmp_path / "model").exists()


def change(config, **parts):
    values = yaml.safe_load(config.read_text())
    for part, given in parts.items():
        values[part].update(given)
    return values


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda f, n: f.unlink(), "doesn't exist"),
        (lambda f, n: (f.unlink(), f.mkdir()), "is a folder"),
        (lambda f, n: f.write_bytes(b""), "is empty"),
        (lambda f, n: f.write_text("epoch 12\n" * 50), "no file that torch.save has written, a damaged one"),
        (
            lambda f, n: f.write_bytes(b"PK\x03\x04" + b"\0" * 100),
            "no file that torch.save has written, a damaged one",
        ),
        (lambda f, n: f.write_bytes(f.read_bytes()[:-5000]), "no file that torch.save has written, a damaged one"),
        (lambda f, n: torch.save([1, 2], f), "holds a list"),
        (lambda f, n: torch.save({"weights": {}}, f), "is of neither fas-patchnet"),
        (lambda f, n: torch.save({"model": 3}, f), "'model' is no mapping"),
        (lambda f, n: torch.save({"model": {"fc.weight": torch.ones(2)}}, f), "has no weight under 'backbone.'"),
        (
            lambda f, n: n.save(f, model={**n.state_dict(), "extra": torch.ones(2)}),
            "1 of its weights have no place: extra",
        ),
        (
            lambda f, n: n.save(f, model={**n.state_dict(), "patch_loss.amsm_loss.fc.bias": torch.ones(2)}),
            "no place: patch_loss.amsm_loss.fc.bias",
        ),
        (
            lambda f, n: n.save(f, model={k: v for k, v in n.state_dict().items() if "nets.1.bias" not in k}),
            "1 are missing: patchnet.backbone.bn1.bias",
        ),
        (
            lambda f, n: n.save(f, model={k: v for k, v in n.state_dict().items() if "patch_loss" not in k}),
            "has no patch_loss.amsm_loss.fc.weight",
        ),
        (
            lambda f, n: n.save(f, model={**n.state_dict(), "backbone.nets.0.weight": torch.ones(9)}),
            "patchnet.backbone.conv1.weight is (9,) instead of (64, 3, 7, 7)",
        ),
        (
            lambda f, n: n.save(f, model={**n.state_dict(), "patch_loss.amsm_loss.fc.weight": torch.ones(2, 9)}),
            "classifier.weight is (2, 9) instead of (2, 512)",
        ),
    ],
)
def test_a_wrong_checkpoint_is_one_line(files_of, tmp_path, broken, said):
    network, _, config = files_of("resnet18")
    path = network.save(tmp_path / "checkpoint.pth")
    broken(path, network)
    with pytest.raises(InputError) as refused:
        convert_checkpoint(path, config, tmp_path / "model")
    assert said in str(refused.value) and "\n" not in str(refused.value) and "checkpoint.pth" in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_every_weight_that_has_no_place_is_named(files_of, tmp_path):
    network, _, config = files_of("resnet18")
    extra = {f"extra_{number}": torch.ones(2) for number in range(20)}
    path = network.save(tmp_path / "checkpoint.pth", model={**network.state_dict(), **extra})
    with pytest.raises(InputError, match="20 of its weights have no place") as refused:
        convert_checkpoint(path, config, tmp_path / "model")
    assert all(name in str(refused.value).replace(",", "").split() for name in extra)


def test_only_scales_of_layers_may_have_further_dimensions(files_of, tmp_path):
    network, _, config = files_of("resnet18")
    weights = network.state_dict()
    name = next(name for name, value in weights.items() if value.ndim == 1)
    weights[name] = weights[name].reshape(1, -1, 1)
    path = network.save(tmp_path / "checkpoint.pth", model=weights)
    with pytest.raises(InputError, match=r"1 differ: .* is \(1, 64, 1\) instead of \(64,\)"):
        convert_checkpoint(path, config, tmp_path / "model")


CLASSES, FIRST = "patch_loss.amsm_loss.fc.weight", "backbone.nets.0.weight"


@pytest.mark.parametrize("name", [CLASSES, FIRST])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor.to_sparse(), "sparse"),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "quantised"),
        (lambda tensor: tensor.to("meta"), "without its values"),
        (lambda tensor: tensor.to(torch.complex64), "complex64"),
        (lambda tensor: tensor * torch.nan, "values that aren't numbers"),
        (lambda tensor: tensor.double() + 1e300, "values that aren't numbers"),
    ],
)
def test_tensors_that_are_no_numbers_are_one_line(files_of, tmp_path, name, change, said):
    network, _, config = files_of("resnet18")
    weights = network.state_dict()
    assert name in weights
    weights[name] = change(weights[name].detach())
    path = network.save(tmp_path / "checkpoint.pth", model=weights)
    with pytest.raises(InputError) as refused:
        convert_checkpoint(path, config, tmp_path / "model")
    assert said in str(refused.value) and "\n" not in str(refused.value) and "checkpoint.pth" in str(refused.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"base": "fastvit_t9"}}, "did you mean fastvit_t8"),
        ({"model": {"base": "cdcnpp"}}, "cdcnpp can't be converted: its network there can't be built"),
        ({"model": {"base": "dc_cdn"}}, "dc_cdn can't be converted"),
        ({"model": {"base": "convnext_tiny"}}, "convnext_tiny can't be converted"),
        ({"model": {"base": "fastvit_t12"}}, "doesn't fit fastvit_t12"),
        ({"model": {"base": "efficientformerv2_s0"}}, "have no place"),
        (
            {"model": {"descriptor_size": 13}},
            "descriptor_size 13, but the checkpoint's class weights are for descriptors of 12",
        ),
        ({"model": {"descriptor_size": "many"}}, "model.descriptor_size is 'many'; expected a number"),
        ({"dataset": {"crop_size": None}}, "has no dataset.crop_size"),
        ({"dataset": {"crop_size": 100}}, "faces resized to 72 are smaller than crops of 100"),
        ({"dataset": 7}, "dataset is 7; expected a mapping"),
        ({"dataset": {"crop_size": math.inf}}, "dataset.crop_size is inf; expected a finite number"),
        ({"loss": {"s": -1}}, "loss.s is -1; expected a positive number"),
        ({"loss": {"s": math.inf}}, "loss.s is inf; expected a finite number"),
        ({"loss": {"s": math.nan}}, "loss.s is nan"),
        ({"loss": {"m_l": math.nan}}, "loss.m_l is nan"),
        ({"loss": {"alpha1": math.nan}}, "loss.alpha1 is nan"),
        ({"loss": {"alpha2": math.nan}}, "loss.alpha2 is nan"),
        ({"train": {"lr": math.nan}}, "train.lr is nan"),
        ({"train": {"lr": 10**400}}, "train.lr is 1000"),
        ({"train": {"batch_size": math.inf}}, "train.batch_size is inf"),
        ({"seed": math.nan}, "seed is nan"),
        ({"train": {"lr": "fast"}}, "train.lr is 'fast'; expected a number"),
    ],
)
def test_a_wrong_config_is_one_line(files_of, reference, tmp_path, changes, said):
    _, checkpoint, _ = files_of("fastvit_t8")
    config = reference.write_config(tmp_path / "config.yaml", "fastvit_t8", **changes)
    with pytest.raises(InputError) as refused:
        convert_checkpoint(checkpoint, config, tmp_path / "model")
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("scale", [0, 0.0, -1, math.nan])
def test_a_scale_that_is_none_is_one_line_that_says_it_once(files_of, reference, tmp_path, scale):
    _, checkpoint, _ = files_of("fastvit_t8")
    config = reference.write_config(tmp_path / "config.yaml", "fastvit_t8", loss={"s": scale})
    with pytest.raises(InputError, match=r"loss\.s is") as refused:
        convert_checkpoint(checkpoint, config, tmp_path / "model", rescaling="sigmoid")
    assert str(refused.value).count("config.yaml") == 1


def test_a_checkpoint_without_its_projection_misses_it(files_of, reference, tmp_path):
    """As many features as the descriptor has: without the layer between them all else fits."""
    trained, _, _ = files_of("fastvit_t8")
    features = trained.head.shape[1]
    weights = trained.state_dict()
    del weights["backbone.backbone.head.weight"]
    weights["patch_loss.amsm_loss.fc.weight"] = torch.randn(2, features)
    checkpoint = trained.save(tmp_path / "checkpoint.pth", model=weights)
    config = reference.write_config(tmp_path / "config.yaml", "fastvit_t8", model={"descriptor_size": features})
    with pytest.raises(InputError, match=r"1 are missing: patchnet\.projection\.weight"):
        convert_checkpoint(checkpoint, config, tmp_path / "model")


def test_missing_and_foreign_configs_are_one_line(files_of, tmp_path):
    _, checkpoint, _ = files_of("fastvit_t8")
    with pytest.raises(InputError, match="doesn't exist"):
        convert_checkpoint(checkpoint, tmp_path / "none.yaml", tmp_path / "model")
    (tmp_path / "other.yaml").write_text("backbone: resnet18\n")
    with pytest.raises(InputError, match=r"has no model\.base"):
        convert_checkpoint(checkpoint, tmp_path / "other.yaml", tmp_path / "model")


def test_a_converted_model_is_replaced_only_where_asked(files_of, tmp_path):
    _, checkpoint, config = files_of("resnet18")
    convert_checkpoint(checkpoint, config, tmp_path / "model")
    with pytest.raises(InputError, match="--overwrite"):
        convert_checkpoint(checkpoint, config, tmp_path / "model")
    convert_checkpoint(checkpoint, config, tmp_path / "model", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="isn't empty"):
        convert_checkpoint(checkpoint, config, tmp_path / "mine", overwrite=True)


def test_overwriting_deletes_no_code_of_the_users_own(files_of, tmp_path):
    _, checkpoint, config = files_of("resnet18")
    convert_checkpoint(checkpoint, config, tmp_path / "model")
    mine = tmp_path / "model" / "serve.py"
    mine.write_text("print('mine')")
    with pytest.raises(InputError, match=r"there is serve\.py, which overwriting would delete"):
        convert_checkpoint(checkpoint, config, tmp_path / "model", overwrite=True)
    assert mine.read_text() == "print('mine')"
