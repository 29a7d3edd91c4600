"""Regions of encoded images, compared with the whole image."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from patchnet_hf.data import encoded_image
from patchnet_hf.data.decoding import decode_image, turbojpeg_is_available
from patchnet_hf.data.encoded_image import EncodedImage

HEIGHT, WIDTH = 241, 333
SUBSAMPLINGS = {
    name.removeprefix("IMWRITE_JPEG_SAMPLING_FACTOR_"): getattr(cv2, name)
    for name in dir(cv2)
    if name.startswith("IMWRITE_JPEG_SAMPLING_FACTOR_")
}
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """RGB pixels with smooth and sharp structure, whose sides are no multiples of a JPEG block."""
    noise = np.random.default_rng(7).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def by_pillow(pixels: np.ndarray, image_format: str, **options) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, image_format, **options)
    return file.getvalue()


def by_opencv(pixels: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)[1].tobytes()


def some_regions(height: int, width: int, count: int = 60) -> list[tuple[int, int, int, int]]:
    """Regions of all sizes, with those at the borders and of one pixel."""
    random = np.random.default_rng(5)
    rows = np.sort([random.choice(height + 1, 2, replace=False) for _ in range(count)])
    columns = np.sort([random.choice(width + 1, 2, replace=False) for _ in range(count)])
    drawn = [(int(t), int(left), int(b), int(right)) for (t, b), (left, right) in zip(rows, columns, strict=True)]
    small = [(t, left, min(t + 9, height), min(left + 9, width)) for t, left, _, _ in drawn]
    corners = [(0, 0, 1, 1), (height - 1, width - 1, height, width), (0, 0, height, width), (0, width - 1, 1, width)]
    return drawn + small + corners


def assert_regions_are_those_of_the_whole(data: bytes):
    whole = decode_image(data)
    image = EncodedImage(data)
    assert (image.height, image.width) == whole.shape[:2]
    for top, left, bottom, right in some_regions(*whole.shape[:2]):
        np.testing.assert_array_equal(image.region(top, left, bottom, right), whole[top:bottom, left:right])


@pytest.mark.parametrize("crop_pays_below", [0, encoded_image.CROP_PAYS_BELOW, 2])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_region_has_the_pixels_of_the_whole_image(scene, monkeypatch, subsampling, progressive, crop_pays_below):
    monkeypatch.setattr(encoded_image, "CROP_PAYS_BELOW", crop_pays_below)
    options = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLINGS[subsampling], cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert_regions_are_those_of_the_whole(by_opencv(scene, *options))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_one_of_the_upright_image(scene, orientation):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    assert_regions_are_those_of_the_whole(by_pillow(scene, "JPEG", exif=exif))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_have_regions(scene, mode):
    file = io.BytesIO()
    PIL.Image.fromarray(scene).convert(mode).save(file, "JPEG")
    assert_regions_are_those_of_the_whole(file.getvalue())


def test_the_sampling_of_a_gray_image_means_nothing(scene, monkeypatch):
    monkeypatch.setattr(encoded_image, "CROP_PAYS_BELOW", 2)
    data = bytearray(by_opencv(scene[..., 0]))
    data[data.index(b"\xff\xc0") + 11] = 0x22
    assert_regions_are_those_of_the_whole(bytes(data))


def test_restart_markers_below_the_region_are_no_errors(scene):
    assert_regions_are_those_of_the_whole(by_opencv(scene, cv2.IMWRITE_JPEG_RST_INTERVAL, 3))


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP"])
def test_other_formats_have_regions(scene, image_format):
    assert_regions_are_those_of_the_whole(by_pillow(scene, image_format))


def test_real_captures_have_regions(nuaa_sample):
    for path in sorted(nuaa_sample.glob("images/**/*.jpg"))[::70]:
        assert_regions_are_those_of_the_whole(path.read_bytes())


@pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo is not installed")
def test_rows_below_a_region_are_not_decoded(scene):
    whole = by_opencv(scene)
    image = EncodedImage(whole[: -len(whole) // 4] + b"\xff\xd9")
    np.testing.assert_array_equal(image.region(10, 20, 100, 90), decode_image(whole)[10:100, 20:90])
    with pytest.raises(ValueError, match="corrupt"):
        image.region(10, 20, HEIGHT, 90)


@pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo is not installed")
def test_bytes_missing_above_a_region_are_told_once_the_last_row_is_decoded(scene):
    whole = by_opencv(scene)
    damaged = whole[: len(whole) // 4] + whole[len(whole) // 2 :]
    with pytest.raises(ValueError, match="corrupt"):
        EncodedImage(damaged).region(0, 0, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="premature end"):
        EncodedImage(damaged).region(HEIGHT - 40, 20, HEIGHT, 60)


def test_a_truncated_jpeg_is_refused_before_any_region_is_asked_for(scene):
    data = by_opencv(scene)
    with pytest.raises(ValueError, match="truncated"):
        EncodedImage(data[: len(data) // 2])


@pytest.mark.parametrize("region", [(0, 0, HEIGHT + 1, 5), (-1, 0, 5, 5), (5, 5, 5, 9), (0, 9, 5, 3)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_region_has_to_lie_within_the_image(scene, image_format, region):
    with pytest.raises(ValueError, match="isn't within an image of 241 x 333 pixels"):
        EncodedImage(by_pillow(scene, image_format)).region(*region)


def test_a_decoder_without_regions_gives_the_same_pixels(scene):
    data = by_opencv(scene)
    np.testing.assert_array_equal(EncodedImage(data, "opencv").region(3, 4, 50, 60), decode_image(data)[3:50, 4:60])
