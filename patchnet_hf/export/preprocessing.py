"""The image processor as tensor operations that exporters can trace: what a graph does with uint8 pixels."""

import torch
from torch import Tensor, nn

from ..models import PatchNetImageProcessor
from ..models.image_processing_patchnet import area_resized, bilinear_resized


def reflected_positions(length: Tensor, patch_size: int, count: int) -> Tensor:
    """
    Where in an image the pixels of its patches lie, along one side.

    Padding and cropping are one gather: a position before or behind the image is that of its mirror image, as often
    as needed, as `numpy.pad(mode="reflect")` has it.

    Args:
        length: `()` int64, the image's pixels along that side.
        patch_size: side P of a patch in pixels.
        count: patches G along that side.

    Returns:
        `(G, P)` int64, from 0 to `length - 1`.

    >>> reflected_positions(torch.tensor(5), 2, 3)
    tensor([[0, 1],
            [2, 3],
            [3, 4]])
    >>> reflected_positions(torch.tensor(3), 7, 1)
    tensor([[2, 1, 0, 1, 2, 1, 0]])
    """
    before = torch.clamp(patch_size - length, min=0) // 2
    last = torch.clamp(length - patch_size, min=0)
    if count == 1:
        starts = (last // 2).reshape(1)
    else:
        # In float64 as Python's division is, and rounded half to even as Python rounds.
        starts = torch.round((torch.arange(count) * last).to(torch.float64) / (count - 1)).to(torch.int64)
    positions = starts[:, None] + torch.arange(patch_size) - before
    period = torch.clamp(2 * (length - 1), min=1)
    positions = torch.remainder(positions, period)
    return torch.where(positions < length, positions, period - positions)


def gathered_patches(image: Tensor, patch_size: int, grid: int) -> Tensor:
    """`(grid * grid, P, P, C)` patches of `image` `(H, W, C)`, as [`grid_patches`] of the image processor has them."""
    height, width = (torch.full((), side, dtype=torch.int64) for side in image.shape[:2])
    rows = reflected_positions(height, patch_size, grid).flatten()
    columns = reflected_positions(width, patch_size, grid).flatten()
    patches = image.index_select(0, rows).index_select(1, columns)
    patches = patches.reshape(grid, patch_size, grid, patch_size, image.shape[2]).permute(0, 2, 1, 3, 4)
    return patches.reshape(grid * grid, patch_size, patch_size, image.shape[2])


class PictureViews(nn.Module):
    """
    The views of one face crop, as [`PatchNetImageProcessor.views`] makes them.

    Args:
        processor: its mode, patch size, grid, resize size and resampling.
    """

    def __init__(self, processor: PatchNetImageProcessor):
        super().__init__()
        self.patch_size = processor.patch_size
        self.grid = processor.grid
        self.resize_size = processor.resize_size if processor.mode == "resize" else None
        self.resized = area_resized if processor.resampling == "area" else bilinear_resized

    def forward(self, image: Tensor) -> Tensor:
        """`(H, W, 3)` uint8 to `(V, P, P, 3)`, uint8 in mode "patches", whole numbers in float32 in mode "resize"."""
        if self.resize_size is None:
            return gathered_patches(image, self.patch_size, self.grid)
        return gathered_patches(self.resized(image, self.resize_size), self.patch_size, 1)


class PixelNormalization(nn.Module):
    """
    Rescaled and normalised pixels, as [`PatchNetImageProcessor.normalize_views`] makes them.

    Args:
        processor: its rescaling factor, means and standard deviations.
    """

    def __init__(self, processor: PatchNetImageProcessor):
        super().__init__()
        self.register_buffer("mean", torch.tensor(processor.image_mean) / processor.rescale_factor)
        self.register_buffer("std", torch.tensor(processor.image_std) / processor.rescale_factor)

    def forward(self, views: Tensor) -> Tensor:
        """`(..., P, P, 3)` from 0 to 255 to `(..., 3, P, P)` float32."""
        return ((views.to(torch.float32) - self.mean) / self.std).movedim(-1, -3)
