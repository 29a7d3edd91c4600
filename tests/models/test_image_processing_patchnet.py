"""The image processor: patches at native resolution, padding by reflection, face boxes, and what it refuses."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from patchnet_hf import PatchNetConfig, PatchNetImageProcessor
from patchnet_hf.data.decoding import decode_image
from patchnet_hf.models.image_processing_patchnet import (
    area_weights,
    as_rgb_uint8,
    face_region,
    grid_patches,
    resize_image,
)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def test_patches_hold_the_captures_own_values_in_a_uniform_grid(image):
    patches = grid_patches(image, 32, 3)
    assert patches.shape == (9, 32, 32, 3)
    rows, columns = (0, 19, 38), (0, 29, 58)
    for index, patch in enumerate(patches):
        top, left = rows[index // 3], columns[index % 3]
        np.testing.assert_array_equal(patch, image[top : top + 32, left : left + 32])


@pytest.mark.parametrize("shape", [(20, 90), (70, 20), (20, 20), (5, 3), (1, 1)])
def test_an_image_smaller_than_a_patch_is_mirrored_not_stretched(shape):
    small = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    patches = PatchNetImageProcessor(patch_size=48, grid=1).views(small)
    assert patches.shape == (1, 48, 48, 3)
    top, left = (max(48 - shape[0], 0) // 2, max(48 - shape[1], 0) // 2)
    height, width = min(shape[0], 48), min(shape[1], 48)
    crop = small[(shape[0] - height) // 2 :, (shape[1] - width) // 2 :][:height, :width]
    np.testing.assert_array_equal(patches[0, top : top + height, left : left + width], crop)
    if 1 < shape[0] < 48:
        np.testing.assert_array_equal(patches[0, top - 1], patches[0, top + 1])


def test_a_face_box_is_grown_and_clipped(image):
    assert face_region(70, 90, (30, 20, 20, 10), 2.0) == (15, 20, 35, 60)
    assert face_region(70, 90, (0, 0, 20, 20), 2.0) == (0, 0, 30, 30)
    grown = PatchNetImageProcessor(patch_size=8, grid=1, face_expand=2.0).views(image, (30, 20, 20, 10))
    np.testing.assert_array_equal(grown[0], image[21:29, 36:44])


def test_a_box_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="outside the image of 90x70 pixels"):
        face_region(70, 90, (200, 20, 10, 10))


def test_pixel_values_are_normalised_channels_first(image):
    values = PatchNetImageProcessor(patch_size=32, grid=2)(image, return_tensors="pt")["pixel_values"]
    assert values.shape == (1, 4, 3, 32, 32) and values.dtype == torch.float32
    expected = (image[:32, :32].astype(np.float64) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(values[0, 0], expected.transpose(2, 0, 1), atol=1e-5)


def test_every_kind_of_image_gives_the_same_values(image, tmp_path):
    processor = PatchNetImageProcessor(patch_size=32, grid=2)
    expected = processor(image, return_tensors="pt")["pixel_values"]
    kinds = [
        Image.fromarray(image),
        torch.from_numpy(image.transpose(2, 0, 1)),
        image.transpose(2, 0, 1),
        Image.fromarray(image).convert("RGBA"),
    ]
    for kind in kinds:
        assert torch.equal(processor(kind, return_tensors="pt")["pixel_values"], expected)
    several = processor([Image.fromarray(image)] * 2, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(several, np.stack([expected[0].numpy()] * 2))


def test_grey_images_are_taken_as_three_equal_channels():
    grey = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    processor = PatchNetImageProcessor(patch_size=32, grid=1)
    expected = processor(np.stack([grey] * 3, axis=-1), return_tensors="pt")["pixel_values"]
    assert torch.equal(processor(grey, return_tensors="pt")["pixel_values"], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_taken_upright_as_training_decodes_it(image, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path, exif=exif)
    upright = decode_image(path.read_bytes())
    np.testing.assert_array_equal(as_rgb_uint8(Image.open(path)), upright)
    # By hand for the commonest case, a phone held upright: a quarter turn clockwise.
    if orientation == 6:
        np.testing.assert_array_equal(upright, np.rot90(image, -1))


def test_16_bit_grey_keeps_its_upper_byte(tmp_path):
    grey = np.random.default_rng(0).integers(0, 65536, (40, 40), dtype=np.uint16)
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    expected = np.stack([grey // 256] * 3, axis=-1)
    np.testing.assert_array_equal(as_rgb_uint8(Image.open(path)), expected)


def test_rescaled_values_are_refused_instead_of_guessed_at(image):
    with pytest.raises(ValueError, match="expected uint8"):
        PatchNetImageProcessor()(image / 255)


def test_boxes_and_images_must_pair_up(image):
    processor = PatchNetImageProcessor(patch_size=16, grid=1)
    with pytest.raises(ValueError, match="2 images but 1 face boxes"):
        processor([image, image], face_boxes=[(0, 0, 20, 20)])
    alone = processor(image, face_boxes=(10, 10, 30, 30), return_tensors="pt")["pixel_values"]
    listed = processor([image], face_boxes=[(10, 10, 30, 30)], return_tensors="pt")["pixel_values"]
    assert torch.equal(alone, listed)


def test_resize_mode_takes_the_centre_of_the_resized_face(image):
    views = PatchNetImageProcessor(mode="resize", patch_size=48, resize_size=64).views(image)
    assert views.shape == (1, 48, 48, 3)
    np.testing.assert_array_equal(views[0], resize_image(image, 64)[8:56, 8:56])


def test_resizing_agrees_with_opencv(image):
    ours = resize_image(image, 64).astype(int)
    assert np.abs(ours - cv2.resize(image, (64, 64), interpolation=cv2.INTER_LINEAR)).max() <= 1


# Shrunk, grown, shrunk by whole numbers, along one side only, and with boundaries of old and new pixels that coincide
# but for rounding.
SHAPES = [(300, 500), (30, 50), (1, 1), (448, 672), (224, 224), (224, 100), (500, 224), (116, 116), (464, 58)]
SHAPES += [(58, 464), (160, 34), (225, 223), (100, 500), (1000, 7)]


@pytest.mark.parametrize("size", [224, 232, 64])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_area_resampling_is_that_of_opencv(height, width, size):
    image = np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = resize_image(image, size, "area").astype(int)
    apart = np.abs(ours - cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))
    assert ours.shape == (size, size, 3)
    # OpenCV rounds halves up where it shrinks by whole numbers, and computes in 11 bits where it doesn't.
    assert apart.max() <= 1


def test_area_weights_are_the_shares_of_old_pixels_in_new_ones():
    by_hand = [[2 / 5, 2 / 5, 1 / 5, 0, 0], [0, 0, 1 / 5, 2 / 5, 2 / 5]]
    np.testing.assert_allclose(area_weights(5, 9, 2).numpy(), by_hand, rtol=1e-6)


def test_resampling_is_saved_and_used(image, tmp_path):
    PatchNetImageProcessor(mode="resize", patch_size=48, resize_size=64, resampling="area").save_pretrained(tmp_path)
    loaded = PatchNetImageProcessor.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.views(image)[0], resize_image(image, 64, "area")[8:56, 8:56])
    assert not np.array_equal(loaded.views(image)[0], resize_image(image, 64)[8:56, 8:56])


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "crop"},
        {"patch_size": 0},
        {"grid": 0},
        {"face_expand": 0},
        {"resize_size": 8, "mode": "resize"},
        {"resampling": "cubic"},
    ],
)
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PatchNetImageProcessor(**options)


def test_a_saved_processor_loads_through_the_auto_class(tmp_path):
    processor = PatchNetImageProcessor(patch_size=96, grid=2, face_expand=1.5, image_mean=[0.5, 0.5, 0.5])
    processor.save_pretrained(tmp_path)
    PatchNetConfig().save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, PatchNetImageProcessor)
    assert loaded.to_dict() == processor.to_dict()
