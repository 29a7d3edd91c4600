"""The central difference convolution against its definition, summed literally in float64."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from timm.utils.model import reparameterize_model
from torch import nn

from patchnet_hf.models.central_difference_patchnet import CentralDifferenceConv2d, CentralDifferenceUnit

# Offsets (row, column) from the centre, in the order of the weights.
NEIGHBOURS = {
    "square": [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)],
    "horizontal_vertical": [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)],
    "diagonal": [(-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)],
}
CASES = [(taps, theta) for taps in NEIGHBOURS for theta in (0.0, 0.7, 1.0)]


def by_definition(pixels: np.ndarray, weights: np.ndarray, offsets: list, theta: float) -> np.ndarray:
    """
    `theta * sum of w (x(p + r) - x(p)) + (1 - theta) * sum of w x(p + r)`, with x = 0 outside the picture.

    `pixels` is `(B, C, H, W)`, `weights` `(O, C, taps)`.
    """
    batch, channels, height, width = pixels.shape
    out = np.zeros((batch, len(weights), height, width))
    for image, kernel, row, column in np.ndindex(out.shape):
        for channel in range(channels):
            centre = pixels[image, channel, row, column]
            for tap, (down, right) in enumerate(offsets):
                inside = 0 <= row + down < height and 0 <= column + right < width
                pixel = pixels[image, channel, row + down, column + right] if inside else 0.0
                weight = weights[kernel, channel, tap]
                out[image, kernel, row, column] += theta * weight * (pixel - centre) + (1 - theta) * weight * pixel
    return out


def convolution_of(taps: str, theta: float) -> CentralDifferenceConv2d:
    torch.manual_seed(0)
    return CentralDifferenceConv2d(3, 4, theta, taps).double()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("taps", "theta"), CASES)
def test_it_is_the_sum_of_the_definition(taps, theta, pixels):
    convolution = convolution_of(taps, theta)
    weights = convolution.weight.detach().flatten(2).numpy()
    expected = by_definition(pixels.numpy(), weights, NEIGHBOURS[taps], theta)
    np.testing.assert_allclose(convolution(pixels).detach().numpy(), expected, atol=1e-12)
    assert np.ptp(expected) > 1


@pytest.mark.parametrize(("taps", "theta"), CASES)
def test_its_gradients_are_those_of_the_definition(taps, theta, pixels):
    """The definition is linear in pixels and in weights: its gradients are its values at unit arguments."""
    convolution = convolution_of(taps, theta)
    inputs = pixels[:1, :, :4, :4].clone().requires_grad_(True)
    wanted = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (convolution(inputs) * wanted).sum().backward()
    weights, offsets = convolution.weight.detach().flatten(2).numpy(), NEIGHBOURS[taps]
    for gradient, at in (
        (inputs.grad.numpy(), lambda unit: (unit, weights)),
        (convolution.weight.grad.flatten(2).numpy(), lambda unit: (inputs.detach().numpy(), unit)),
    ):
        for index in list(np.ndindex(gradient.shape))[::7]:
            unit = np.zeros_like(gradient)
            unit[index] = 1
            expected = (by_definition(*at(unit), offsets, theta) * wanted.numpy()).sum()
            assert gradient[index] == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("taps", NEIGHBOURS)
def test_folded_it_is_a_plain_convolution_with_the_same_outputs(taps, pixels):
    convolution = convolution_of(taps, 0.7)
    plain = convolution.fuse()
    assert type(plain) is nn.Conv2d and plain.weight.shape == (4, 3, 3, 3) and plain.bias is None
    torch.testing.assert_close(plain(pixels), convolution(pixels), atol=1e-12, rtol=0)


@pytest.mark.parametrize("taps", NEIGHBOURS)
def test_a_unit_becomes_one_convolution_and_relu(taps, pixels):
    torch.manual_seed(0)
    unit = CentralDifferenceUnit(3, 4, 0.7, taps).double()
    nn.init.uniform_(unit.norm.weight, 0.2, 0.8)
    nn.init.uniform_(unit.norm.bias, -0.5, 0.5)
    for _ in range(3):
        unit(pixels)
    model = nn.Sequential(unit).eval()
    merged = reparameterize_model(model)
    assert [type(module) for module in merged.modules() if not list(module.children())] == [
        nn.Conv2d,
        nn.Identity,
        nn.ReLU,
    ]
    expected = model(pixels)
    torch.testing.assert_close(merged(pixels), expected, atol=1e-12, rtol=0)
    assert 0 < (expected > 0).double().mean() < 1
    torch.testing.assert_close(reparameterize_model(merged)(pixels), expected, atol=1e-12, rtol=0)
    assert isinstance(unit.convolution, CentralDifferenceConv2d), "the model that is merged is a copy"


@pytest.mark.parametrize("taps", NEIGHBOURS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_the_folded_kernel_once(taps, dtype, pixels):
    convolution, inputs = convolution_of(taps, 0.7).float(), pixels.float()
    with torch.autocast("cpu", dtype=dtype):
        output = convolution(inputs)
    assert output.dtype == dtype
    kernel = convolution.kernel().detach().to(dtype).double()
    expected = nn.functional.conv2d(inputs.to(dtype).double(), kernel, padding=1)
    bound = torch.finfo(dtype).eps * expected.abs().max().item()
    torch.testing.assert_close(output.double(), expected, atol=bound, rtol=0)
    output.float().square().sum().backward()
    assert convolution.weight.grad.dtype == torch.float32 and torch.isfinite(convolution.weight.grad).all()


def test_a_copy_has_weights_of_its_own(pixels):
    convolution = convolution_of("diagonal", 0.7)
    before = convolution(pixels).detach()
    copy = deepcopy(convolution)
    assert torch.equal(copy(pixels), before)
    with torch.no_grad():
        copy.weight.zero_()
    assert torch.equal(convolution(pixels), before)


@pytest.mark.parametrize(
    ("options", "message"), [({"theta": 1.1}, "theta is 1.1"), ({"taps": "cross"}, "expected one of square, hor")]
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CentralDifferenceConv2d(3, 4, **options)
