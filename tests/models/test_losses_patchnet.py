"""The losses against independent computations in float64, and their gradients against finite differences."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from patchnet_hf.models.losses_patchnet import asymmetric_am_softmax_loss, view_similarity_loss

LIVE = [True, False, False, True, False]


@pytest.fixture
def random():
    return np.random.default_rng(0)


def am_softmax_by_hand(cosines, labels, live, scale, margin_live, margin_spoof):
    """The formula item by item, in float64."""
    losses = []
    for row, label in zip(cosines.astype(np.float64), labels, strict=True):
        terms = scale * row
        terms[label] = scale * (row[label] - (margin_live if live[label] else margin_spoof))
        losses.append(logsumexp(terms) - terms[label])
    return np.mean(losses)


@pytest.mark.parametrize(
    ("scale", "margin_live", "margin_spoof"), [(30.0, 0.4, 0.1), (1.0, 0.0, 0.0), (64.0, 0.1, 0.5)]
)
def test_am_softmax_equals_the_formula(random, scale, margin_live, margin_spoof):
    cosines = random.uniform(-1, 1, (40, 5))
    labels = random.integers(0, 5, 40)
    loss = asymmetric_am_softmax_loss(
        torch.tensor(cosines), torch.tensor(labels), torch.tensor(LIVE), scale, margin_live, margin_spoof
    )
    expected = am_softmax_by_hand(cosines, labels, LIVE, scale, margin_live, margin_spoof)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_am_softmax_in_float32_stays_within_a_millionth_of_float64(random):
    cosines = random.uniform(-1, 1, (40, 5)).astype(np.float32)
    labels = random.integers(0, 5, 40)
    loss = asymmetric_am_softmax_loss(torch.tensor(cosines), torch.tensor(labels), torch.tensor(LIVE))
    assert loss.item() == pytest.approx(am_softmax_by_hand(cosines, labels, LIVE, 30.0, 0.4, 0.1), rel=1e-6)


def test_a_margin_only_counts_against_its_own_class():
    cosines = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    live = torch.tensor([True, False])
    of_live = asymmetric_am_softmax_loss(cosines, torch.tensor([0]), live, 30.0, 0.4, 0.1)
    of_spoof = asymmetric_am_softmax_loss(cosines, torch.tensor([1]), live, 30.0, 0.4, 0.1)
    assert of_live.item() == pytest.approx(np.log1p(np.exp(30 * 0.4)), abs=1e-9)
    assert of_spoof.item() == pytest.approx(np.log1p(np.exp(30 * 0.1)), abs=1e-9)


@pytest.mark.parametrize("views", [2, 3, 9])
def test_similarity_is_the_mean_squared_distance_over_pairs_of_views(random, views):
    embeddings = random.normal(size=(6, views, 8))
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    pairs = [(i, j) for i in range(views) for j in range(i)]
    expected = np.mean([[np.sum((item[i] - item[j]) ** 2) for i, j in pairs] for item in embeddings])
    assert view_similarity_loss(torch.tensor(embeddings)).item() == pytest.approx(expected, abs=1e-9)


def test_similarity_of_a_single_view_is_zero():
    assert view_similarity_loss(torch.ones(3, 1, 4)).item() == 0


def test_am_softmax_gradient(random):
    cosines = torch.tensor(random.uniform(-1, 1, (6, 5)), requires_grad=True)
    labels, live = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor(LIVE)
    # A small scale keeps the softmax away from saturation, where finite differences see only rounding.
    assert torch.autograd.gradcheck(lambda c: asymmetric_am_softmax_loss(c, labels, live, scale=4.0), cosines)


@pytest.mark.parametrize("views", [2, 4])
def test_similarity_gradient(random, views):
    embeddings = torch.tensor(random.normal(size=(3, views, 5)), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda e: view_similarity_loss(torch.nn.functional.normalize(e, dim=-1)), embeddings
    )


def test_losses_of_bfloat16_inputs_are_float32_and_finite_at_scale_30():
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = asymmetric_am_softmax_loss(cosines, torch.tensor([1, 1]), torch.tensor([False, True]), scale=30.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss) and torch.isfinite(cosines.grad).all()
