"""The dense liveness map is that of separate patches where networks allow, and made of separate patches elsewhere."""

import numpy as np
import pytest
import timm
import torch
from scipy.special import expit
from timm.models import register_model
from torch import nn

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.inference import liveness_map
from patchnet_hf.inference.liveness_map import LivenessMap, LivenessMapper, feature_step
from patchnet_hf.inference.scorer import Scorer, ViewScores
from patchnet_hf.inference.scorers import TorchScorer

PATCH, GRID = 32, 2


class UnpaddedNetwork(nn.Module):
    """Convolutions without padding, reduction 4, in timm's form; `spoilt` makes it look further than it should."""

    num_features = 8

    def __init__(self, spoilt: str | None = None):
        super().__init__()
        self.spoilt = spoilt
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 8, 3, stride=2)

    def forward_features(self, x):
        x = self.first(x).relu()
        if self.spoilt == "sees all":
            x = x - 0.01 * x.mean(dim=(2, 3), keepdim=True)
        if self.spoilt == "sees its column":
            x = x - 0.01 * x.mean(dim=2, keepdim=True)
        if self.spoilt == "knows its place":
            x = x + torch.linspace(0, 1, x.shape[-1], device=x.device)
        if self.spoilt == "fixed size":
            x = x + torch.zeros(8, 15, 15)
        return self.second(x).relu()

    def forward_head(self, x, pre_logits: bool = False):
        return x.mean(dim=(2, 3))

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


@register_model
def unpadded_test_network(pretrained=False, **kwargs):
    return UnpaddedNetwork()


def scorer_of(backbone, kwargs=None, patch_size=PATCH, calibration=None, seed=0):
    torch.manual_seed(seed)
    config = PatchNetConfig(
        backbone=backbone,
        backbone_kwargs=kwargs or {},
        patch_types=["a/live", "a/print", "b/replay"],
        live_patch_types=["a/live"],
        calibration=calibration,
    )
    model = PatchNetForImageClassification(config)
    return TorchScorer(backbone, model, PatchNetImageProcessor(patch_size=patch_size, grid=GRID))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def one_by_one(scorer, image, liveness):
    """Log-odds of the patches at the map's positions by the model itself, without any code of the map."""
    patches = [
        image[top : top + liveness.patch_size, left : left + liveness.patch_size]
        for top in liveness.tops
        for left in liveness.lefts
    ]
    with torch.no_grad():
        logits = scorer.model(scorer.processor.normalize_views(np.stack(patches))).logits.double().numpy()
    return (logits[:, 1] - logits[:, 0]).reshape(len(liveness.tops), len(liveness.lefts))


@pytest.mark.parametrize("calibration", [None, {"scale": 0.3, "bias": -1.0}])
@pytest.mark.parametrize("stride", [None, 2, 3, 8, 12])
def test_without_padding_the_dense_map_equals_separate_patches(stride, calibration):
    scorer = scorer_of("unpadded_test_network", calibration=calibration)
    image = noise(83, 101)
    dense = LivenessMapper(scorer, stride=stride)(image)
    assert dense.method == "dense"
    expected = one_by_one(scorer, image, dense)
    np.testing.assert_allclose(dense.log_odds, expected, atol=1e-4)
    np.testing.assert_allclose(LivenessMapper(scorer, "patches", stride)(image).log_odds, expected, atol=1e-4)
    assert abs(dense.shift) < 1e-4 and dense.deviation < 1e-4


def test_a_large_face_is_cut_into_several_passes_with_the_same_map(monkeypatch):
    scorer = scorer_of("unpadded_test_network")
    image = noise(120, 95)
    whole = LivenessMapper(scorer)(image)
    monkeypatch.setattr(liveness_map, "LARGEST_SIDE", 50)
    embed, counts = scorer.model.patchnet.embed, []
    monkeypatch.setattr(scorer.model.patchnet, "embed", lambda x: counts.append(len(x)) or embed(x))
    np.testing.assert_allclose(LivenessMapper(scorer)(image).log_odds, whole.log_odds, atol=1e-4)
    # No more features are kept than those of one pass: (50 - 32) // 4 + 1 positions a side.
    assert max(counts) <= 25 and sum(counts) >= whole.log_odds.size


def test_positions_are_one_step_apart_and_centred():
    scorer = scorer_of("unpadded_test_network")
    dense = LivenessMapper(scorer)(noise(PATCH + 4 * 5 + 3, PATCH + 4 * 9))
    assert dense.tops.tolist() == [1, 5, 9, 13, 17, 21]
    assert dense.lefts.tolist() == list(range(0, 40, 4))
    assert dense.log_odds.shape == (6, 10)


def test_a_face_box_moves_the_map_into_the_image():
    scorer = scorer_of("unpadded_test_network")
    image, box = noise(150, 180), (60, 50, 50, 40)
    in_photograph = LivenessMapper(scorer)(image, box)
    top, left, bottom, right = in_photograph.region
    assert (top, left, bottom, right) == (44, 52, 96, 118)
    crop = LivenessMapper(scorer)(image[top:bottom, left:right])
    np.testing.assert_array_equal(in_photograph.log_odds, crop.log_odds)
    np.testing.assert_array_equal(in_photograph.tops, crop.tops + top)
    np.testing.assert_allclose(in_photograph.log_odds, one_by_one(scorer, image, in_photograph), atol=1e-4)
    with pytest.raises(ValueError, match="outside the image"):
        LivenessMapper(scorer)(image, (500, 0, 20, 20))


def test_padding_leaves_the_documented_difference_whose_mean_is_taken_away():
    """Then the map is that of the windows of the feature map, moved by the mean difference at five positions."""
    scorer = scorer_of("resnet18", patch_size=48)
    image = noise(48 + 32 * 3, 48 + 32 * 4)
    dense = LivenessMapper(scorer)(image)
    assert dense.method == "dense" and dense.log_odds.shape == (4, 5)

    network, model = scorer.model.patchnet.backbone, scorer.model
    with torch.no_grad():
        cells = network.forward_features(scorer.processor.normalize_views(image[None]))
        windows = [cells[0, :, row : row + 2, column : column + 2] for row in range(4) for column in range(5)]
        embeddings = torch.nn.functional.normalize(torch.stack(windows).mean(dim=(2, 3)), dim=-1)
        of_types = model.classifier(embeddings).double().softmax(-1)[:, model.config.live_patch_type_ids].sum(-1)
    before = torch.logit(of_types).numpy().reshape(4, 5)
    np.testing.assert_allclose(dense.log_odds - dense.shift, before, atol=1e-4)

    left = one_by_one(scorer, image, dense) - dense.log_odds
    checked = [left[row, column] for row, column in ((0, 0), (0, 4), (3, 0), (3, 4), (2, 2))]
    assert np.mean(checked) == pytest.approx(0, abs=1e-4)
    assert dense.deviation == pytest.approx(np.abs(checked).max(), abs=1e-4) and dense.deviation > 1e-3


@pytest.mark.parametrize(
    ("backbone", "kwargs"),
    [
        ("vit_tiny_patch16_224", {"img_size": PATCH}),
        ("test_vit", {"img_size": PATCH}),
        ("test_efficientnet", {}),  # squeeze-and-excite
    ],
)
def test_other_networks_are_scored_patch_by_patch(backbone, kwargs):
    scorer = scorer_of(backbone, kwargs)
    image = noise(50, 64)
    mapper = LivenessMapper(scorer)
    liveness = mapper(image)
    assert (mapper.method, liveness.method) == ("patches", "patches")
    assert liveness.lefts.tolist() == [0, 8, 16, 24, 32]  # a quarter of a patch apart
    np.testing.assert_allclose(liveness.log_odds, one_by_one(scorer, image, liveness), atol=1e-4)
    with pytest.raises(InputError, match="no dense liveness map") as error:
        LivenessMapper(scorer, "dense")
    assert "\n" not in str(error.value)


def test_a_large_face_gets_no_more_than_16_separate_positions_a_side():
    liveness = LivenessMapper(scorer_of("test_vit", {"img_size": PATCH}))(noise(PATCH, 400))
    assert liveness.lefts.tolist() == list(range(9, 400 - PATCH, 25))


@pytest.mark.parametrize("spoilt", ["sees all", "sees its column", "knows its place", "fixed size"])
def test_networks_that_look_further_are_found_out(spoilt):
    torch.manual_seed(0)
    step, reason = feature_step(UnpaddedNetwork(spoilt).eval(), PATCH)
    assert step is None and reason


@pytest.mark.parametrize(
    ("name", "step"), [("test_resnet", 32), ("test_convnext", 32), ("mobilenetv2_050", 32), ("dla34", 32)]
)
def test_convolutional_networks_are_local(name, step):
    torch.manual_seed(0)
    assert feature_step(timm.create_model(name, num_classes=0).eval(), 64) == (step, "")


def test_global_response_normalisation_is_found_out_by_its_weights():
    """ConvNeXt V2 starts with its global part at zero: it is local until it is trained."""
    torch.manual_seed(0)
    network = timm.create_model("convnextv2_atto", num_classes=0).eval()
    assert feature_step(network, 64)[0] == 32
    for module in network.modules():
        if type(module).__name__ == "GlobalResponseNorm":
            nn.init.constant_(module.weight, 0.1)
    assert feature_step(network, 64)[0] is None


class BrightnessScorer(TorchScorer):
    """Live is what is bright: feature 0 is brightness where it is above the mean, feature 1 darkness below it."""

    def __init__(self, patch_size: int = PATCH):
        config = PatchNetConfig(backbone="unpadded_test_network", scale=5.0)
        model = PatchNetForImageClassification(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            network = model.patchnet.backbone
            network.first.weight[0], network.first.weight[1] = 1 / 27, -1 / 27
            network.second.weight[0, 0] = network.second.weight[1, 1] = 1 / 9
            model.classifier.weight[1, 0] = model.classifier.weight[0, 1] = 1.0
        super().__init__("brightness", model, PatchNetImageProcessor(patch_size=patch_size, grid=GRID))


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_the_live_half_of_a_picture_is_the_live_half_of_the_map(side):
    image = np.full((128, 128, 3), 30, dtype=np.uint8)
    halves = {"left": np.s_[:, :64], "right": np.s_[:, 64:], "top": np.s_[:64], "bottom": np.s_[64:]}
    image[halves[side]] = 220
    liveness = LivenessMapper(BrightnessScorer())(image)
    painted = liveness.over_region()
    assert painted.shape == (128, 128)
    live = np.zeros((128, 128), dtype=bool)
    live[halves[side]] = True
    # A patch may look over the border, half its size at most on average.
    sure = np.zeros_like(live)
    sure[8:-8, 8:-8] = True
    across = slice(64 - 16, 64 + 16)
    sure[(slice(None), across) if side in ("left", "right") else (across,)] = False
    assert (painted[sure & live] > 0.6).all() and (painted[sure & ~live] < 0.4).all()
    peak = np.unravel_index(painted.argmax(), painted.shape)
    assert live[peak]


@pytest.mark.parametrize("stride", [5, 16, 40])
def test_each_pixel_shows_the_mean_of_the_patches_that_cover_it(stride):
    random = np.random.default_rng(0)
    tops, lefts, patch = 3 + stride * np.arange(3), 2 + stride * np.arange(4), 16
    region = (2, 1, 2 * stride + 3 + patch + 2, 3 * stride + 2 + patch + 1)
    log_odds = random.normal(size=(3, 4))
    painted = LivenessMap(log_odds, tops, lefts, patch, region, "patches").over_region()
    assert painted.shape == (region[2] - region[0], region[3] - region[1])
    compared = 0
    for row in range(region[0], region[2]):
        for column in range(region[1], region[3]):
            covering = [
                expit(log_odds[i, j])
                for i, top in enumerate(tops)
                for j, left in enumerate(lefts)
                if top <= row < top + patch and left <= column < left + patch
            ]
            if covering:
                compared += 1
                assert painted[row - region[0], column - region[1]] == pytest.approx(np.mean(covering))
    assert compared and np.isfinite(painted).all() and painted.min() >= expit(log_odds.min())


def test_a_face_smaller_than_a_patch_has_one_position():
    scorer = scorer_of("unpadded_test_network")
    image = noise(20, 26)
    liveness = LivenessMapper(scorer)(image)
    assert (liveness.tops.tolist(), liveness.lefts.tolist()) == ([-6], [-3])
    views = scorer.processor.views(image)
    assert liveness.log_odds.item() == pytest.approx(scorer.score(views[None]).patch_log_odds[0, 0], abs=1e-4)
    assert liveness.over_region().shape == (20, 26)


class WholeCaptures(Scorer):
    """As a graph that takes captures of exactly V views; `silent` as one that gives no scores of patches."""

    def __init__(self, scorer: TorchScorer, silent: bool = False):
        super().__init__("graph.onnx", scorer.config, scorer.processor)
        self.scorer, self.silent = scorer, silent

    def score(self, views):
        assert views.shape[1] == GRID * GRID
        scores = self.scorer.score(views)
        return (
            ViewScores(scores.log_odds, np.full_like(scores.patch_log_odds, np.nan), None) if self.silent else scores
        )

    def description(self):
        return {}


def test_other_scorers_score_patches_in_whole_captures():
    inner = scorer_of("unpadded_test_network")
    image = noise(70, 90)
    liveness = LivenessMapper(WholeCaptures(inner))(image)
    assert liveness.method == "patches"
    np.testing.assert_allclose(liveness.log_odds, one_by_one(inner, image, liveness), atol=1e-4)
    with pytest.raises(InputError, match="no scores of single patches"):
        LivenessMapper(WholeCaptures(inner, silent=True))(image)


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"mode": "resize", "resize_size": 64}, {}, "looks at the whole face once"),
        ({}, {"stride": 0}, "stride of the liveness map is 0"),
        ({}, {"method": "fast"}, "expected one of auto, dense, patches"),
    ],
)
def test_what_has_no_map_is_one_line(settings, arguments, message):
    scorer = scorer_of("unpadded_test_network")
    scorer.processor = PatchNetImageProcessor(patch_size=PATCH, **settings)
    with pytest.raises(InputError, match=message) as error:
        LivenessMapper(scorer, **arguments)
    assert "\n" not in str(error.value)
