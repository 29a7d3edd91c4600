"""The image processor as tensor operations gives the image processor's views, whatever the size of a picture."""

import numpy as np
import pytest
import torch

from patchnet_hf import PatchNetImageProcessor
from patchnet_hf.export.preprocessing import PictureViews, PixelNormalization, reflected_positions


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_patches_are_bit_for_bit_the_processors(pictures, grid):
    processor = PatchNetImageProcessor(patch_size=40, grid=grid)
    views = PictureViews(processor)
    assert sum(min(picture.shape[:2]) < 40 for picture in pictures) >= 8
    for picture in pictures:
        given = views(torch.from_numpy(picture)).numpy()
        assert given.dtype == np.uint8
        np.testing.assert_array_equal(given, processor.views(picture))


@pytest.mark.parametrize("resampling", ["bilinear", "area"])
def test_resized_pictures_differ_from_the_processors_by_rounding_alone(pictures, resampling):
    processor = PatchNetImageProcessor(mode="resize", patch_size=32, resize_size=40, resampling=resampling)
    views = PictureViews(processor)
    for picture in pictures:
        apart = np.abs(views(torch.from_numpy(picture)).numpy().astype(int) - processor.views(picture).astype(int))
        assert apart.max() <= 1 and apart.mean() < 0.01


@pytest.mark.parametrize("patch_size", [1, 2, 5, 9])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 30])
def test_padding_mirrors_as_numpy_does_as_often_as_needed(length, patch_size):
    missing = max(patch_size - length, 0)
    line = np.pad(np.arange(length), (missing // 2, missing - missing // 2), mode="reflect")
    for count in (1, 2, 3, 4):
        last = len(line) - patch_size
        starts = [last // 2] if count == 1 else [round(index * last / (count - 1)) for index in range(count)]
        expected = [line[start : start + patch_size] for start in starts]
        given = reflected_positions(torch.tensor(length), patch_size, count)
        np.testing.assert_array_equal(given.numpy(), expected)


def test_pixels_are_normalised_as_the_processor_does():
    processor = PatchNetImageProcessor(image_mean=[0.1, 0.5, 0.7], image_std=[0.2, 0.3, 0.4], rescale_factor=1 / 128)
    views = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 8, 3), dtype=np.uint8)
    given = PixelNormalization(processor)(torch.from_numpy(views))
    by_hand = (views / 128 - [0.1, 0.5, 0.7]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(given.numpy(), np.moveaxis(by_hand, -1, -3), atol=1e-5)
    torch.testing.assert_close(given, processor.normalize_views(views), atol=1e-5, rtol=0)
