"""A merged model answers as the unmerged one, which is timm's own forward pass over all branches."""

import pytest
import torch
from torch import nn

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification

SIDE = 64


@pytest.fixture
def model_with(as_trained):
    def model_with(backbone: str, **settings) -> PatchNetForImageClassification:
        torch.manual_seed(0)
        model = PatchNetForImageClassification(PatchNetConfig(backbone=backbone, image_size=SIDE, **settings))
        return as_trained(model, SIDE)

    return model_with


def layers(model: nn.Module) -> int:
    return sum(
        isinstance(module, (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)) for module in model.modules()
    )


def answers(model: PatchNetForImageClassification):
    with torch.no_grad():
        output = model(torch.randn(3, 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(model.dtype))
    return output.logits, output.patch_type_logits, output.embeddings


@pytest.mark.parametrize(
    "backbone", ["fastvit_t8", "repvgg_a0", "mobileone_s0", "repghostnet_050", "repvit_m0_9", "tiny_vit_5m_224"]
)
def test_a_merged_model_has_fewer_layers_and_gives_the_same_outputs(model_with, backbone):
    model = model_with(backbone, calibration={"scale": 0.5, "bias": 0.3})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged = model.reparameterized()
    assert layers(merged) < layers(model)
    for merged_answer, answer in zip(answers(merged), answers(model), strict=True):
        assert answer.std() > 1e-3
        torch.testing.assert_close(merged_answer, answer, atol=1e-4, rtol=0)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("backbone", ["resnet18", "efficientformer_l1", "convnext_atto"])
def test_a_backbone_without_branches_stays_as_it_is(backbone):
    torch.manual_seed(0)
    model = PatchNetForImageClassification(PatchNetConfig(backbone=backbone)).eval()
    merged = model.reparameterized()
    assert str(merged) == str(model)
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in merged.state_dict().items())


def test_what_trains_is_left_in_training_and_its_copy_answers_as_in_evaluation(model_with):
    model = model_with("repvgg_a0", dropout=0.5)
    expected = answers(model)[0]
    merged = model.train().reparameterized()
    assert model.training and not any(module.training for module in merged.modules())
    torch.testing.assert_close(answers(merged)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float64, 1e-5)])
def test_another_precision_is_kept(model_with, dtype, tolerance):
    model = model_with("repvit_m0_9").to(dtype)
    merged = model.reparameterized()
    assert {parameter.dtype for parameter in merged.parameters()} == {dtype}
    torch.testing.assert_close(answers(merged)[2], answers(model)[2], atol=tolerance, rtol=0)


def test_own_layers_are_merged_by_their_method():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def reparameterize(self):
            with torch.no_grad():
                self.first.weight += self.second.weight
                self.first.bias += self.second.bias
            self.second = None

        def forward(self, patches):
            features = self.first(patches)
            return features if self.second is None else features + self.second(patches)

    model = PatchNetForImageClassification(PatchNetConfig(backbone="test_resnet", embedding_size=8)).eval()
    model.patchnet.backbone = nn.Sequential(Doubled(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.patchnet.projection = nn.Linear(4, 8, bias=False)
    merged = model.reparameterized()
    assert layers(model) == layers(merged) + 1
    torch.testing.assert_close(answers(merged)[0], answers(model)[0], atol=1e-4, rtol=0)
