"""New models from the weights of trained ones."""

import pytest
import torch

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification
from patchnet_hf.errors import InputError
from patchnet_hf.training.initialization import initialize_from


def network(patch_types, seed=0, **options):
    torch.manual_seed(seed)
    live = [name for name in patch_types if name.endswith("live")]
    return PatchNetForImageClassification(
        PatchNetConfig(
            **{
                "backbone": "test_resnet",
                "patch_types": patch_types,
                "live_patch_types": live,
                "image_size": 32,
                **options,
            }
        )
    )


@pytest.fixture
def source(tmp_path):
    trained = network(["a/live", "a/print", "b/print"])
    trained.save_pretrained(tmp_path / "trained")
    return str(tmp_path / "trained"), trained.state_dict()


def test_everything_is_taken_over_when_everything_matches(source):
    folder, weights = source
    new = network(["a/live", "a/print", "b/print"], seed=1)
    assert initialize_from(new, folder) == []
    assert all(torch.equal(value, weights[name]) for name, value in new.state_dict().items())


def test_patch_types_go_by_name_not_by_position(source):
    folder, weights = source
    new = network(["b/print", "a/live", "a/print"], seed=1)
    assert initialize_from(new, folder) == []
    assert torch.equal(new.classifier.weight, weights["classifier.weight"][[2, 0, 1]])


def test_other_patch_types_are_refused_or_listed_and_start_at_random(source):
    folder, weights = source
    types = ["a/live", "c/live", "a/print"]
    new = network(types, seed=1)
    untouched = new.state_dict()["classifier.weight"].clone()
    with pytest.raises(InputError, match=r"new patch types c/live.*only there b/print.*--strict false"):
        initialize_from(new, folder)
    assert torch.equal(new.classifier.weight, untouched), "a refusal changes nothing"
    notes = initialize_from(new, folder, strict=False)
    assert notes == ["classifier.weight: new patch types c/live", "classifier.weight: patch types only there b/print"]
    assert torch.equal(new.classifier.weight[[0, 2]], weights["classifier.weight"][:2])
    assert torch.equal(new.classifier.weight[1], untouched[1])
    assert torch.equal(new.patchnet.backbone.conv1[0].weight, weights["patchnet.backbone.conv1.0.weight"])


def test_another_embedding_size_leaves_the_head_as_it_was(source):
    folder, _ = source
    new = network(["a/live", "a/print", "b/print"], seed=1, embedding_size=7)
    before = new.classifier.weight.clone()
    notes = initialize_from(new, folder, strict=False)
    assert notes == [
        f"patchnet.projection.weight: not in {folder}",
        "classifier.weight: embeddings of another size",
    ]
    assert torch.equal(new.classifier.weight, before)


def test_another_backbone_has_nothing_to_give(source):
    folder, _ = source
    with pytest.raises(InputError, match="no weight fits the backbone 'test_convnext'"):
        initialize_from(network(["a/live", "a/print"], backbone="test_convnext"), folder, strict=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing", None, "can't be loaded"),
        ("empty", {}, "no config.json"),
        ("other", {"config.json": '{"model_type": "bert"}'}, "of type 'bert', not PatchNet"),
        ("weightless", {"config.json": '{"model_type": "patchnet"}'}, "can't be loaded"),
    ],
)
def test_what_is_no_model_is_said_in_one_line(tmp_path, name, content, message):
    folder = tmp_path / name
    if content is not None:
        folder.mkdir()
        for file, text in content.items():
            (folder / file).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        initialize_from(network(["a/live", "a/print"]), str(folder))
    assert "\n" not in str(error.value)
