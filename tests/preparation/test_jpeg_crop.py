"""Crops of JPEG files hold the very coefficients of the original."""

import csv
import io

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from scipy.fft import idctn

from patchnet_hf.data import decoding
from patchnet_hf.data.decoding import decode_image, turbojpeg_is_available
from patchnet_hf.data.regions import Region
from patchnet_hf.errors import InputError
from patchnet_hf.models.image_processing_patchnet import crop_face
from patchnet_hf.preparation import jpeg_crop
from patchnet_hf.preparation.image_writing import ImageSettings, prepare_image
from patchnet_hf.preparation.job import prepare
from patchnet_hf.preparation.jpeg_crop import crop_jpeg
from patchnet_hf.preparation.settings import PreparationSettings, choose_boxes, choose_meanings

pytestmark = pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo isn't installed")

# Pillow's subsampling numbers: 4:4:4, 4:2:2, 4:2:0.
SUBSAMPLINGS = {0: (8, 8), 1: (16, 8), 2: (16, 16)}


def assert_blocks_are_those_of(crop: bytes, original: bytes, left: int, top: int, read_coefficients) -> None:
    """Each block of the crop is the original's block at its place, under the same tables; `left, top` as stored."""
    small, large = read_coefficients(crop), read_coefficients(original)
    assert small.factors == large.factors
    across, down = (max(factor) for factor in zip(*large.factors, strict=True))
    for component, (h, v) in enumerate(large.factors):
        np.testing.assert_array_equal(small.tables[component], large.tables[component])
        x, y = left * h // (8 * across), top * v // (8 * down)
        # Blocks that hold pixels; those that only fill up the last MCU are the encoder's own.
        columns, rows = -(-small.width * h // (8 * across)), -(-small.height * v // (8 * down))
        cut = small.blocks[component][:rows, :columns]
        np.testing.assert_array_equal(cut, large.blocks[component][y : y + rows, x : x + columns])
        assert np.count_nonzero(cut[..., 1:]), "without textures this would show nothing"


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize(
    "region", [(21, 19, 50, 41), (0, 0, 17, 9), (40, 30, 77, 59), (0, 0, 77, 59), (33, 33, 34, 34)]
)
def test_coefficients_are_those_of_the_originals_blocks(make, read_coefficients, subsampling, region):
    data = make.encoded(make.picture(77, 59), quality=88, subsampling=subsampling)
    wanted = Region(*region)
    crop, shown = crop_jpeg(data, wanted)
    width, height = SUBSAMPLINGS[subsampling]
    assert (shown.left % width, shown.top % height) == (0, 0)
    assert shown.left <= wanted.left and shown.top <= wanted.top
    assert wanted.right <= shown.right <= 77 and wanted.bottom <= shown.bottom <= 59
    # No more than the pixels that colours are computed from, and whole blocks.
    assert wanted.left - shown.left < width + 2 and shown.right - wanted.right < width + 2
    assert decode_image(crop).shape[:2] == (shown.height, shown.width)
    assert_blocks_are_those_of(crop, data, shown.left, shown.top, read_coefficients)


def test_the_reader_of_coefficients_agrees_with_a_decoder(make, read_coefficients):
    """The coefficients that it reads, dequantised and transformed by SciPy, are the pixels that a decoder shows."""
    data = make.encoded(make.picture(56, 40)[:, :, 1], quality=70)
    read = read_coefficients(data)
    diagonals = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[1] if sum(at) % 2 == 0 else at[0]))
    blocks = np.zeros((5, 7, 8, 8))
    blocks[(..., *np.transpose(diagonals))] = read.blocks[0] * read.tables[0]
    pixels = idctn(blocks, axes=(2, 3), norm="ortho").swapaxes(1, 2).reshape(40, 56) + 128
    assert np.abs(np.clip(pixels, 0, 255) - decode_image(data)[..., 0]).max() < 1


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_the_regions_pixels_decode_as_in_the_original(make, subsampling):
    data = make.encoded(make.picture(120, 90, seed=3), quality=80, subsampling=subsampling)
    original = decode_image(data)
    random = np.random.default_rng(1)
    for _ in range(60):
        left, top = (int(random.integers(0, limit - 1)) for limit in (120, 90))
        wanted = Region(left, top, int(random.integers(left + 1, 121)), int(random.integers(top + 1, 91)))
        crop, shown = crop_jpeg(data, wanted)
        part = decode_image(crop)[
            wanted.top - shown.top : wanted.bottom - shown.top, wanted.left - shown.left : wanted.right - shown.left
        ]
        np.testing.assert_array_equal(part, original[wanted.top : wanted.bottom, wanted.left : wanted.right])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_capture_stays_upright(make, read_coefficients, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = make.encoded(make.picture(96, 64, seed=2), quality=85, exif=exif)
    seen = decode_image(data)
    assert seen.shape[:2] == ((96, 64) if orientation > 4 else (64, 96))
    wanted = Region(20, 24, 44, 40)
    crop, shown = crop_jpeg(data, wanted)
    np.testing.assert_array_equal(
        decode_image(crop)[
            wanted.top - shown.top : wanted.bottom - shown.top, wanted.left - shown.left : wanted.right - shown.left
        ],
        seen[wanted.top : wanted.bottom, wanted.left : wanted.right],
    )
    # Pillow, through which `datasets` decodes, sees the same picture.
    with PIL.Image.open(io.BytesIO(crop)) as image:
        assert PIL.ImageOps.exif_transpose(image).size == (shown.width, shown.height)


def test_the_profile_and_exif_are_kept(make):
    exif = PIL.Image.Exif()
    exif[0x010F] = "a maker"
    data = make.encoded(make.picture(), icc_profile=b"a profile" * 40, exif=exif)
    with PIL.Image.open(io.BytesIO(crop_jpeg(data, Region(8, 8, 30, 30))[0])) as image:
        assert image.info["icc_profile"] == b"a profile" * 40
        assert image.getexif()[0x010F] == "a maker"


def test_gray_and_progressive_files(make, read_coefficients):
    pixels = make.picture(90, 70, seed=5)
    gray = make.encoded(pixels[:, :, 0], quality=90)
    crop, shown = crop_jpeg(gray, Region(30, 20, 60, 50))
    assert (shown.left, shown.top) == (24, 16)
    assert_blocks_are_those_of(crop, gray, 24, 16, read_coefficients)
    # Both files hold the same coefficients, in another order; the crop of either must be the same.
    baseline = make.encoded(pixels, quality=90, subsampling=2)
    progressive = make.encoded(pixels, quality=90, subsampling=2, progressive=True)
    crop, shown = crop_jpeg(progressive, Region(30, 20, 60, 50))
    assert_blocks_are_those_of(crop, baseline, shown.left, shown.top, read_coefficients)


def test_restart_markers_and_optimised_tables(make, read_coefficients):
    pixels = make.picture(90, 70, seed=6)
    for options in ({"restart_marker_blocks": 3}, {"optimize": True}):
        data = make.encoded(pixels, quality=75, **options)
        crop, shown = crop_jpeg(data, Region(40, 30, 60, 50))
        assert_blocks_are_those_of(crop, data, shown.left, shown.top, read_coefficients)


def test_a_file_that_cannot_be_cut_says_so(make, monkeypatch):
    # Chroma of different resolutions is something that libjpeg-turbo's transformation doesn't know.
    data = bytearray(make.encoded(make.picture(64, 64), subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31
    with pytest.raises(ValueError, match="can't be cropped without loss"):
        crop_jpeg(bytes(data), Region(8, 8, 30, 30))


def test_crops_of_real_captures_are_lossless(nuaa_sample, read_coefficients):
    with open(nuaa_sample / "val.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[::16]:
        data = (nuaa_sample / row["image_name"]).read_bytes()
        x, y, w, h = (int(row[f"face_{name}"]) for name in "xywh")
        prepared = prepare_image(data, lambda _, box=(x, y, x + w, y + h): box, ImageSettings())
        new_x, new_y, *size = prepared.face_box
        assert size == [w, h]
        assert_blocks_are_those_of(prepared.data, data, x - new_x, y - new_y, read_coefficients)
        np.testing.assert_array_equal(
            crop_face(decode_image(prepared.data), prepared.face_box), crop_face(decode_image(data), (x, y, w, h))
        )


def test_without_the_library_the_user_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(jpeg_crop, "turbojpeg_is_available", lambda: False)
    with pytest.raises(jpeg_crop.InputError, match=r"needs libjpeg-turbo.*--keep-images"):
        jpeg_crop.check_that_jpegs_can_be_cropped()


def test_without_the_library_a_jpeg_by_the_name_of_a_png_is_told_so_too(make, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_turbojpeg", lambda: None)
    make.write(tmp_path / "in" / "live" / "1.png", make.encoded(make.picture()))
    make.write(tmp_path / "in" / "live" / "1.txt", "10 8\n40 40\n")
    meanings = choose_meanings(None, "", ["live"], ["print=print"], [])
    boxes = choose_boxes(["txt"], False, meanings)
    with (
        pytest.warns(RuntimeWarning, match="OpenCV"),
        pytest.raises(InputError, match=r"1.png: .*needs libjpeg-turbo"),
    ):
        prepare(PreparationSettings(tmp_path / "in", tmp_path / "out", meanings, boxes=boxes), progress=False)


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"format": "MPO"}, {"mode": "CMYK"}, {"comment": b"a word"}])
def test_unusual_files(make, options):
    options = dict(options)
    image = PIL.Image.fromarray(make.picture(96, 80)).convert(options.pop("mode", "RGB"))
    stream = io.BytesIO()
    image_format = options.pop("format", "jpeg")
    if image_format == "MPO":  # two pictures in one file, as phones write them
        options.update(save_all=True, append_images=[image.rotate(180)])
    image.save(stream, image_format, quality=90, **options)
    data = stream.getvalue()
    wanted = Region(30, 20, 60, 50)
    crop, shown = crop_jpeg(data, wanted)
    inside = np.s_[20 - shown.top : 50 - shown.top, 30 - shown.left : 60 - shown.left]
    np.testing.assert_array_equal(decode_image(crop)[inside], decode_image(data)[20:50, 30:60])
    with PIL.Image.open(io.BytesIO(crop)) as opened:
        np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), decode_image(crop))
