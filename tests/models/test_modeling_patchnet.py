"""The model: its contract of shapes and scores, saving and loading, and the Auto classes."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor, PatchNetModel
from patchnet_hf.models.losses_patchnet import asymmetric_am_softmax_loss
from patchnet_hf.models.modeling_patchnet import live_spoof_logits

PATCH_TYPES = ["phone/live", "phone/print", "tablet/live", "tablet/replay"]
LIVE = ["phone/live", "tablet/live"]
SMALL = "resnet18"


def build(seed=0, **options) -> PatchNetForImageClassification:
    torch.manual_seed(seed)
    config = PatchNetConfig(**{"patch_types": PATCH_TYPES, "live_patch_types": LIVE, "backbone": SMALL, **options})
    return PatchNetForImageClassification(config).eval()


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture
def patches():
    return torch.randn(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_outputs_have_the_shapes_of_the_contract(model, patches):
    with torch.no_grad():
        many, one = model(patches), model(patches[:, 0])
    assert many.logits.shape == one.logits.shape == (2, 2)
    assert many.patch_type_logits.shape == (2, 3, 4) and one.patch_type_logits.shape == (2, 4)
    assert many.embeddings.shape == (2, 3, 512) and one.embeddings.shape == (2, 512)
    assert many.loss is None


def test_embeddings_and_class_weights_are_compared_by_cosine(model, patches):
    with torch.no_grad():
        output = model(patches)
        raw = model.patchnet.backbone(patches.flatten(0, 1)).double().numpy()
    weight = model.classifier.weight.detach().double().numpy()
    cosines = raw @ weight.T / np.linalg.norm(raw, axis=1)[:, None] / np.linalg.norm(weight, axis=1)
    np.testing.assert_allclose(output.patch_type_logits.flatten(0, 1), 30 * cosines, atol=2e-5)
    np.testing.assert_allclose(output.embeddings.norm(dim=-1), 1, atol=1e-6)


def test_logits_are_the_mean_over_views_of_summed_type_probabilities(model, patches):
    with torch.no_grad():
        output = model(patches)
    probabilities = softmax(output.patch_type_logits.double().numpy(), axis=-1)
    live = probabilities[..., [0, 2]].sum(-1).mean(1)
    np.testing.assert_allclose(softmax(output.logits.double().numpy(), axis=-1)[:, 1], live, atol=1e-6)


def test_live_log_odds_keep_their_ranking_where_probabilities_saturate():
    type_logits = torch.tensor([[[30.0, -30.0]], [[29.0, -30.0]]])
    logits = live_spoof_logits(type_logits, torch.tensor([True, False]))
    log_odds = logits[:, 1] - logits[:, 0]
    assert logits.softmax(-1)[0, 1] == logits.softmax(-1)[1, 1] == 1.0
    assert log_odds.tolist() == pytest.approx([60.0, 59.0])


def test_the_loss_sums_over_views_and_adds_their_distance(patches):
    model = build(similarity_weight=0.7, classification_weight=1.3).double()
    labels = torch.tensor([1, 2])
    with torch.no_grad():
        output = model(patches[:, :2].double(), labels=labels)
    live = torch.tensor([True, False, True, False])
    cosines = output.patch_type_logits / 30
    by_view = [asymmetric_am_softmax_loss(cosines[:, view], labels, live).item() for view in range(2)]
    embeddings = output.embeddings.numpy()
    distance = np.mean(np.sum((embeddings[:, 0] - embeddings[:, 1]) ** 2, axis=-1))
    assert output.loss.item() == pytest.approx(1.3 * sum(by_view) + 0.7 * distance, abs=1e-6)
    parts = {name: value.item() for name, value in output.loss_dict.items()}
    assert parts == pytest.approx({"classification": sum(by_view) / 2, "similarity": distance}, abs=1e-6)


def test_parts_of_the_loss_come_with_labels_alone_and_carry_no_gradient(patches):
    model = build(backbone="test_resnet").train()
    assert model(patches[:, :2]).loss_dict is None
    output = model(patches[:, :2], labels=torch.tensor([1, 2]))
    assert output.loss.requires_grad and not any(part.requires_grad for part in output.loss_dict.values())


def test_a_compiled_model_gives_the_parts_of_the_loss(patches):
    model = build(backbone="test_resnet")
    labels = torch.tensor([1, 2])
    expected = model(patches[:, :2], labels=labels)
    output = torch.compile(model, backend="aot_eager")(patches[:, :2], labels=labels)
    torch.testing.assert_close(output.loss_dict, expected.loss_dict)
    output.loss.backward()
    assert model.classifier.weight.grad.abs().sum() > 0


def test_training_at_scale_30_in_bfloat16_has_finite_float32_losses_and_gradients():
    model = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(4, 2, 3, 64, 64), labels=torch.tensor([0, 1, 2, 3]))
    output.loss.backward()
    assert output.loss.dtype == output.logits.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_bfloat16_model_scores_without_nan(patches):
    output = build().to(torch.bfloat16)(patches.to(torch.bfloat16))
    assert output.logits.dtype == torch.float32 and torch.isfinite(output.logits).all()


def test_calibration_moves_the_live_log_odds_inside_forward(patches):
    plain, calibrated = build(), build(calibration={"scale": 0.2, "bias": -1.5})
    with torch.no_grad():
        before, after = plain(patches).logits, calibrated(patches).logits
    log_odds = (before[:, 1] - before[:, 0]).double().numpy()
    expected = 1 / (1 + np.exp(-(0.2 * log_odds - 1.5)))
    np.testing.assert_allclose(after.softmax(-1)[:, 1], expected, atol=1e-6)


def test_a_linear_head_gives_plain_products_and_cannot_be_trained(patches):
    model = build(head="linear", embedding_size=16)
    with torch.no_grad():
        output = model(patches[:, 0])
        raw = model.patchnet.projection(model.patchnet.backbone(patches[:, 0]))
    np.testing.assert_allclose(output.patch_type_logits, raw @ model.classifier.weight.T.detach(), atol=1e-5)
    with pytest.raises(ValueError, match="cosine"):
        model(patches, labels=torch.tensor([0, 1]))


def test_tuples_hold_the_same_as_the_named_output(model, patches):
    with torch.no_grad():
        named, plain = model(patches), model(patches, return_dict=False)
    assert torch.equal(named.logits, plain[0]) and torch.equal(named.embeddings, plain[2])
    with torch.no_grad():
        plain = model(patches, labels=torch.tensor([0, 1]), return_dict=False)
        named = model(patches, labels=torch.tensor([0, 1])).to_tuple()
    assert len(plain) == len(named) == 5 and plain[4] == named[4]
    assert all(torch.equal(*pair) for pair in zip(plain[:4], named[:4], strict=True))


def test_a_wrong_shape_is_named(model):
    with pytest.raises(ValueError, match=r"shape \(3, 64, 64\)"):
        model(torch.zeros(3, 64, 64))


def test_an_unknown_backbone_names_its_neighbours():
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet19'; did you mean .*resnet18"):
        PatchNetModel(PatchNetConfig(backbone="resnet19"))


def test_arguments_that_a_backbone_refuses_are_named():
    with pytest.raises(ValueError, match="img_size"):
        PatchNetModel(PatchNetConfig(backbone="resnet18", backbone_kwargs={"img_size": 160}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": float("inf")}, "scale is inf; expected a finite number"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"margin_live": float("nan")}, "margin_live is nan"),
        ({"margin_spoof": float("-inf")}, "margin_spoof is -inf"),
        ({"similarity_weight": float("nan")}, "similarity_weight is nan"),
        ({"classification_weight": float("inf")}, "classification_weight is inf"),
        ({"calibration": {"scale": 1.0, "bias": float("nan")}}, "expected finite numbers"),
        ({"live_patch_types": ["dead"]}, "dead"),
        ({"patch_types": ["live"], "live_patch_types": ["live"]}, "no attack patch type"),
        ({"live_patch_types": []}, "no live patch type"),
        ({"head": "arc"}, "expected one of cosine, linear"),
        ({"decision_threshold": 1.0}, "decision_threshold"),
        ({"calibration": {"slope": 1.0}}, "scale and bias"),
        ({"patch_types": ["a", "a", "live"]}, "twice"),
        ({"backbone_kwargs": {"checkpoint_path": "weights.pth"}}, "checkpoint_path"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PatchNetConfig(**options)


def test_timm_initialises_a_new_backbone_not_transformers():
    import timm

    torch.manual_seed(0)
    expected = timm.create_model(SMALL, num_classes=0).state_dict()
    torch.manual_seed(0)
    state = PatchNetModel(PatchNetConfig(backbone=SMALL)).backbone.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


@pytest.mark.parametrize(
    ("backbone", "kwargs"),
    [
        ("resnet18", {}),
        ("fastvit_t8", {}),
        ("efficientformerv2_s0", {"img_size": 64}),
        # Its attention masks and position indices are buffers that no checkpoint holds.
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 4}),
        ("vit_tiny_patch16_224", {"img_size": 64}),
        ("mobilenetv3_small_100", {}),
        ("convnext_atto", {}),
        ("cdcn", {}),
        ("cdcnpp", {}),
        ("dc_cdn", {}),
    ],
)
def test_a_saved_model_loads_with_equal_outputs(tmp_path, patches, backbone, kwargs):
    model = build(backbone=backbone, backbone_kwargs=kwargs)
    # As after training in channels-last memory.
    model.to(memory_format=torch.channels_last).save_pretrained(tmp_path)
    model.to(memory_format=torch.contiguous_format)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, PatchNetForImageClassification)
    with torch.no_grad():
        before, after = model(patches), loaded(patches)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.patch_type_logits, after.patch_type_logits)
    assert torch.equal(before.embeddings, after.embeddings)
    assert (tmp_path / "model.safetensors").is_file()


def test_the_embedding_model_loads_from_a_classifier(tmp_path, model, patches):
    model.save_pretrained(tmp_path)
    embedder = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(embedder, PatchNetModel)
    with torch.no_grad():
        assert torch.equal(embedder(patches).embeddings, model(patches).embeddings)


def test_weights_that_a_checkpoint_lacks_are_initialised_not_left_as_they_lay(tmp_path):
    build().patchnet.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = PatchNetForImageClassification.from_pretrained(tmp_path)
    assert torch.isfinite(loaded.classifier.weight).all()
    assert 0.01 < loaded.classifier.weight.std().item() < 0.2
    assert loaded.classifier.live_mask.tolist() == [True, False, True, False]


def test_a_configuration_survives_saving(tmp_path):
    config = PatchNetConfig(
        patch_types=PATCH_TYPES, live_patch_types=LIVE, calibration={"scale": 0.5, "bias": 0.1}, embedding_size=64
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, PatchNetConfig)
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert loaded.id2label == {0: "spoof", 1: "live"} and loaded.num_labels == 2
    assert loaded.live_patch_type_ids == [0, 2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    PatchNetImageProcessor(patch_size=64, grid=2).save_pretrained(folder)
    return folder


def test_a_pipeline_scores_pictures_paths_and_lists_as_the_model_does(saved, model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    path = str(tmp_path / "face.png")
    picture.save(path)
    processor = AutoImageProcessor.from_pretrained(saved)
    with torch.no_grad():
        expected = model(**processor(picture, return_tensors="pt")).logits.softmax(-1)[0]
    classify = pipeline("image-classification", model=str(saved))
    answers = [classify(picture), classify(path), *classify([picture, picture]), *classify([path, path])]
    for answer in answers:
        scores = {entry["label"]: entry["score"] for entry in answer}
        assert scores == pytest.approx({"spoof": expected[0].item(), "live": expected[1].item()}, abs=1e-6)
        assert math.isclose(sum(scores.values()), 1, abs_tol=1e-6)


def test_gradient_checkpointing_gives_the_same_gradients():
    grads = []
    for checkpointing in (False, True):
        model = build().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(torch.ones(2, 2, 3, 64, 64), labels=torch.tensor([0, 1])).loss.backward()
        grads.append(model.patchnet.backbone.conv1.weight.grad)
    assert torch.allclose(grads[0], grads[1], atol=1e-6)
