"""The two losses of PatchNet (Wang et al., CVPR 2022, arXiv 2203.14325), as pure functions."""

import torch
from torch import Tensor
from torch.nn import functional as F


def at_least_float32(tensor: Tensor) -> Tensor:
    """`tensor` in float32, or as it is where it is already float32 or float64."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def asymmetric_am_softmax_loss(
    cosines: Tensor,
    labels: Tensor,
    live_mask: Tensor,
    scale: float = 30.0,
    margin_live: float = 0.4,
    margin_spoof: float = 0.1,
) -> Tensor:
    r"""
    Additive-margin softmax (Wang et al. 2018, arXiv 1801.05599) with a larger margin for the live types:

    .. math:: L = -\frac{1}{N} \sum_i \log \frac{e^{s (\cos\theta_{y_i} - m_{y_i})}}
                  {e^{s (\cos\theta_{y_i} - m_{y_i})} + \sum_{k \ne y_i} e^{s \cos\theta_k}}

    Args:
        cosines: `(N, K)`, cosine between each embedding and each class weight, in [-1, 1].
        labels: `(N,)` int64, patch-type ids in [0, K).
        live_mask: `(K,)` bool, true for the live patch types.
        scale: factor s.
        margin_live: m of the live types.
        margin_spoof: m of the other types.

    Returns:
        Scalar mean over the N items, computed in float32 at least.

    Example:

    >>> cosines = torch.tensor([[1.0, -1.0]])
    >>> loss = asymmetric_am_softmax_loss(cosines, torch.tensor([0]), torch.tensor([False, True]))
    >>> bool(loss < 1e-6)
    True
    """
    cosines = at_least_float32(cosines)
    margins = torch.full_like(cosines[0], margin_spoof).masked_fill(live_mask, margin_live)
    onehot = F.one_hot(labels, cosines.shape[-1]).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - onehot * margins), labels)


def view_similarity_loss(embeddings: Tensor) -> Tensor:
    r"""
    Squared L2 distance between the unit embeddings of the views of a capture, the self-supervised similarity loss.

    For two views this is :math:`\lVert f_1 - f_2 \rVert^2`; for V views the mean over all pairs, by
    :math:`\sum_{i<j} \lVert f_i - f_j \rVert^2 = V \sum_i \lVert f_i \rVert^2 - \lVert \sum_i f_i \rVert^2`.

    Args:
        embeddings: `(B, V, D)`, of unit length along D.

    Returns:
        Scalar mean over the B captures, computed in float32 at least; 0 for a single view.
    """
    embeddings = at_least_float32(embeddings)
    views = embeddings.shape[1]
    if views == 1:
        return embeddings.new_zeros(())
    if views == 2:
        # The direct difference, because the identity below loses digits when the views nearly agree.
        return (embeddings[:, 0] - embeddings[:, 1]).square().sum(-1).mean()
    pairs = views * (views - 1) / 2
    total = views * embeddings.square().sum((1, 2)) - embeddings.sum(1).square().sum(-1)
    return total.clamp_min(0).mean() / pairs


__all__ = ["asymmetric_am_softmax_loss", "at_least_float32", "view_similarity_loss"]
