"""Decoded pixels, compared with Pillow's, which `datasets.Image()` shows."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from patchnet_hf.data import decoding
from patchnet_hf.data.decoding import decode_image, read_jpeg_header, turbojpeg_is_available
from patchnet_hf.errors import InputError

JPEG_DECODERS = [
    "opencv",
    pytest.param(
        "turbojpeg",
        marks=pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo is not installed"),
    ),
]
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
    return cv2.resize(noise, (333, 241), interpolation=cv2.INTER_CUBIC)


def encoded(pixels: np.ndarray | PIL.Image.Image, image_format: str, **options) -> bytes:
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    image = PIL.Image.open(io.BytesIO(data))
    return np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg_pixels_are_pillows_bit_for_bit(scene, decoder, subsampling, progressive):
    options = [
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        SUBSAMPLINGS[subsampling],
        cv2.IMWRITE_JPEG_PROGRESSIVE,
        progressive,
        cv2.IMWRITE_JPEG_RST_INTERVAL,
        3,
    ]
    data = cv2.imencode(".jpg", scene, options)[1].tobytes()
    pixels = decode_image(data, decoder)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, by_pillow(data))


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
def test_real_captures_have_the_same_pixels_in_every_decoder(nuaa_sample, decoder):
    paths = sorted(nuaa_sample.glob("images/**/*.jpg"))[::28]
    assert len(paths) == 10
    for path in paths:
        data = path.read_bytes()
        np.testing.assert_array_equal(decode_image(data, decoder), by_pillow(data))


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_other_formats_have_pillows_pixels(scene, image_format):
    data = encoded(scene, image_format)
    np.testing.assert_array_equal(decode_image(data), by_pillow(data))


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_gray_and_cmyk_jpeg_become_rgb(scene, decoder, mode):
    data = encoded(PIL.Image.fromarray(scene).convert(mode), "JPEG")
    pixels = decode_image(data, decoder)
    assert pixels.shape == (241, 333, 3)
    np.testing.assert_array_equal(pixels, by_pillow(data))


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_dropped_and_leaves_the_colours_alone(scene, image_format):
    alpha = np.random.default_rng(1).integers(0, 256, scene.shape[:2], dtype=np.uint8)
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    data = encoded(np.dstack([scene, alpha]), image_format, **options)
    np.testing.assert_array_equal(decode_image(data), scene)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1"])
def test_png_of_every_mode_becomes_rgb(scene, mode):
    data = encoded(PIL.Image.fromarray(scene).convert(mode), "PNG")
    np.testing.assert_array_equal(decode_image(data), by_pillow(data))


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_gray_keeps_its_upper_byte(extension):
    gray = np.random.default_rng(2).integers(0, 65536, (30, 20)).astype(np.uint16)
    data = cv2.imencode(extension, gray)[1].tobytes()
    np.testing.assert_array_equal(decode_image(data), np.repeat((gray // 256).astype(np.uint8)[..., None], 3, axis=2))


def test_16_bit_colour_keeps_its_upper_byte():
    bgr = np.random.default_rng(3).integers(0, 65536, (30, 20, 3)).astype(np.uint16)
    data = cv2.imencode(".png", bgr)[1].tobytes()
    np.testing.assert_array_equal(decode_image(data), (bgr[..., ::-1] // 256).astype(np.uint8))


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_applies_it(scene, decoder, image_format, orientation):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(scene, image_format, exif=exif)
    pixels = decode_image(data, decoder)
    assert pixels.shape[:2] == ((241, 333) if orientation < 5 else (333, 241))
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, by_pillow(data))


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
def test_an_orientation_in_xmp_alone_counts_as_well(scene, decoder):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(scene, "JPEG", xmp=xmp)
    assert by_pillow(data).shape == (333, 241, 3)
    np.testing.assert_array_equal(decode_image(data, decoder), by_pillow(data))


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99, -2, -1])
def test_a_truncated_jpeg_is_no_image(scene, decoder, progressive, kept):
    data = encoded(scene, "JPEG", progressive=progressive)
    cut = data[: int(len(data) * kept)] if kept > 0 else data[:kept]
    with pytest.raises(ValueError, match="truncated"):
        decode_image(cut, decoder)


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
def test_a_jpeg_filled_up_with_zeros_is_no_image(scene, decoder):
    data = encoded(scene, "JPEG")
    with pytest.raises(ValueError, match="truncated"):
        decode_image(data[: len(data) // 2] + bytes(len(data) - len(data) // 2), decoder)


def test_a_thumbnails_end_marker_does_not_pass_for_the_images(scene):
    exif = PIL.Image.Exif()
    data = encoded(scene, "JPEG")
    thumbnail = b"Exif\0\0" + exif.tobytes()[6:] + encoded(scene[:40, :40], "JPEG")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + segment + data[2:]
    np.testing.assert_array_equal(decode_image(whole), by_pillow(data))
    with pytest.raises(ValueError, match="truncated"):
        decode_image(whole[: -len(data) // 2])


@pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo is not installed")
def test_libjpeg_turbo_tells_of_missing_data_before_the_end_marker(scene):
    data = encoded(scene, "JPEG")
    with pytest.raises(ValueError, match="premature end of data"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9", "turbojpeg")


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
def test_harmless_oddities_of_encoders_are_no_errors(scene, decoder):
    data = encoded(scene, "JPEG")
    for odd in (data + b"trailer\xff", data[:-2] + b"\0\0\xff\xd9", data[:2] + b"\xff\xff" + data[2:]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(decode_image(odd, decoder), by_pillow(data))


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_other_truncated_formats_are_no_images(scene, image_format, kept):
    data = encoded(scene, image_format)
    with pytest.raises(ValueError, match=r"truncated|corrupt|can't be read|isn't known"):
        decode_image(data[: int(len(data) * kept)])


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty"),
        (b"hello, I am a text", "not an image"),
        (b"\xff\xd8\xff\xd9", "no image data"),
        (b"\xff\xd8", "truncated"),
        (b"\xff\xd8\xff\xe0\x00\x01\xff\xd9", "segment of 1 bytes"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode_image(data)


@pytest.mark.parametrize("decoder", JPEG_DECODERS)
def test_random_damage_ends_in_pixels_or_a_value_error(scene, decoder):
    rng = np.random.default_rng(4)
    data = np.frombuffer(encoded(scene, "JPEG"), np.uint8)
    for _ in range(100):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 5)] = rng.integers(0, 256, 5)
        try:
            assert decode_image(damaged.tobytes(), decoder).shape[2] == 3
        except ValueError as error:
            assert str(error)


def test_an_image_of_giant_size_is_refused_before_memory_is_taken(scene):
    data = bytearray(encoded(scene, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60000).to_bytes(2, "big") * 2
    with pytest.raises(ValueError, match="60000 x 60000"):
        decode_image(bytes(data))


@pytest.mark.parametrize("blocks", [(0, (8, 8)), (1, (16, 8)), (2, (16, 16))])
def test_a_header_tells_size_and_blocks(scene, blocks):
    subsampling, group_size = blocks
    data = encoded(scene, "JPEG", subsampling=subsampling)
    header = read_jpeg_header(data)
    assert (header.width, header.height, header.group_size) == (333, 241, group_size)
    assert int.from_bytes(data[header.frame_position : header.frame_position + 2], "big") == 241
    assert header.has_rows_in_order and header.can_be_cropped and not header.has_metadata


def test_rows_of_a_progressive_file_are_in_no_order(scene):
    assert not read_jpeg_header(encoded(scene, "JPEG", progressive=True)).has_rows_in_order


def test_threads_share_the_decoder(scene):
    data = encoded(scene, "JPEG")
    expected = by_pillow(data)
    with ThreadPoolExecutor(4) as pool:
        for pixels in pool.map(decode_image, [data] * 50):
            np.testing.assert_array_equal(pixels, expected)


def test_an_unknown_decoder_is_named():
    with pytest.raises(InputError, match="'pillow', expected one of auto, turbojpeg, opencv"):
        decode_image(b"", "pillow")


class TestWithoutTheLibrary:
    @pytest.fixture(autouse=True)
    def library_is_missing(self, monkeypatch):
        def not_found(*_):
            raise RuntimeError("Unable to locate turbojpeg library automatically.")

        monkeypatch.setattr(decoding._StrictTurboJPEG, "__init__", not_found)
        decoding._turbojpeg.cache_clear()
        decoding._warn_that_turbojpeg_is_missing.cache_clear()
        yield
        monkeypatch.undo()
        decoding._turbojpeg.cache_clear()
        decoding._warn_that_turbojpeg_is_missing.cache_clear()

    def test_opencv_takes_over_with_one_warning(self, scene):
        data = encoded(scene, "JPEG")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                np.testing.assert_array_equal(decode_image(data), by_pillow(data))
        [warning] = caught
        assert "libturbojpeg0" in str(warning.message)

    def test_it_cannot_be_asked_for(self, scene):
        with pytest.raises(InputError, match="libjpeg-turbo was not found"):
            decode_image(encoded(scene, "JPEG"), "turbojpeg")
