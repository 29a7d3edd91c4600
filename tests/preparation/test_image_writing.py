"""What becomes of one image: copies, crops of every format, borders, boxes."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from patchnet_hf.data.decoding import decode_image, turbojpeg_is_available
from patchnet_hf.data.regions import Region, seen_region, stored_region, upright
from patchnet_hf.models.image_processing_patchnet import crop_face, face_region
from patchnet_hf.preparation.face_boxes import face_box_in, grown
from patchnet_hf.preparation.image_writing import ImageSettings, encode, output_suffix, prepare_frame, prepare_image

BOX = (30, 20, 70, 61)  # left, top, right, bottom
AS_XYWH = (30, 20, 40, 41)


def box_of(pixels):
    return BOX


def png(make, kind: str) -> bytes:
    """A PNG file of 120 x 90 pixels of this kind."""
    pixels = make.picture(120, 90)
    if kind == "turned":
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        return make.encoded(make.picture(90, 120), "png", exif=exif)
    if kind == "palette":
        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).quantize(64).save(stream, "png")
        return stream.getvalue()
    random = np.random.default_rng(0)
    content = {
        "rgb": pixels,
        "gray": pixels[:, :, 0],
        "rgba": np.dstack([pixels, random.integers(0, 256, (90, 120), dtype=np.uint8)]),
        "gray16": random.integers(0, 2**16, (90, 120), dtype=np.uint16),
        "rgb16": random.integers(0, 2**16, (90, 120, 3), dtype=np.uint16),
    }[kind]
    return cv2.imencode(".png", content)[1].tobytes()


@pytest.mark.parametrize("kind", ["rgb", "gray", "rgba", "palette", "gray16", "rgb16", "turned"])
@pytest.mark.parametrize("expand", [1.0, 1.3, 2.2])
def test_png_stays_png_without_loss(make, kind, expand):
    data = png(make, kind)
    prepared = prepare_image(data, box_of, ImageSettings(expand=expand))
    assert prepared.data.startswith(b"\x89PNG")
    # The model's region around the face has the same pixels in the crop and in the whole image.
    np.testing.assert_array_equal(
        crop_face(decode_image(prepared.data), prepared.face_box, expand),
        crop_face(decode_image(data), AS_XYWH, expand),
    )
    if kind.endswith("16"):
        whole, crop = (
            cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED) for each in (data, prepared.data)
        )
        assert crop.dtype == np.uint16
        x, y = AS_XYWH[0] - prepared.face_box[0], AS_XYWH[1] - prepared.face_box[1]
        np.testing.assert_array_equal(crop, whole[y : y + crop.shape[0], x : x + crop.shape[1]])


@pytest.mark.parametrize("image_format, options", [("bmp", {}), ("webp", {"lossless": True}), ("tiff", {})])
def test_other_formats_become_png_with_equal_pixels(make, image_format, options):
    data = make.encoded(make.picture(120, 90), image_format, **options)
    prepared = prepare_image(data, box_of, ImageSettings())
    assert prepared.data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(
        crop_face(decode_image(prepared.data), prepared.face_box), crop_face(decode_image(data), AS_XYWH)
    )


@pytest.mark.parametrize("image_format", ["jpeg", "png", "bmp", "webp"])
def test_without_a_crop_files_are_copied_byte_by_byte(make, image_format):
    data = make.encoded(make.picture(120, 90), image_format)
    assert prepare_image(data, None, ImageSettings()).data == data
    kept = prepare_image(data, box_of, ImageSettings(keep_images=True))
    assert (kept.data, kept.face_box) == (data, AS_XYWH)
    # A list may say of an image that it is a face crop already.
    crop = prepare_image(data, lambda pixels: None, ImageSettings())
    assert (crop.data, crop.face_box) == (data, None)


def test_the_crop_holds_the_region_that_a_model_looks_at(make):
    """For every box, in the corners as well: so cropping changes nothing for training with the same factor."""
    pixels = make.picture(61, 47)
    data = make.encoded(pixels, "png")
    random = np.random.default_rng(0)
    for _ in range(200):
        x, y = int(random.integers(0, 60)), int(random.integers(0, 46))
        box = (x, y, int(random.integers(1, 62 - x)), int(random.integers(1, 48 - y)))
        expand = float(random.uniform(1, 3))
        corners = (x, y, x + box[2], y + box[3])
        prepared = prepare_image(data, lambda _, corners=corners: corners, ImageSettings(expand=expand))
        np.testing.assert_array_equal(
            crop_face(decode_image(prepared.data), prepared.face_box, expand), crop_face(pixels, box, expand)
        )
        top, left, bottom, right = face_region(47, 61, box, expand)
        assert grown(box, expand).clipped(61, 47) == Region(left, top, right, bottom)


@pytest.mark.skipif(not turbojpeg_is_available(), reason="libjpeg-turbo isn't installed")
@pytest.mark.parametrize("expand", [1.0, 1.3, 3.0])
def test_so_do_crops_of_jpeg_files(make, expand):
    data = make.encoded(make.picture(123, 91), quality=85)
    whole = decode_image(data)
    random = np.random.default_rng(0)
    for _ in range(60):
        x, y = int(random.integers(0, 122)), int(random.integers(0, 90))
        box = (x, y, int(random.integers(1, 124 - x)), int(random.integers(1, 92 - y)))
        corners = (x, y, x + box[2], y + box[3])
        prepared = prepare_image(data, lambda _, corners=corners: corners, ImageSettings(expand=expand))
        np.testing.assert_array_equal(
            crop_face(decode_image(prepared.data), prepared.face_box, expand), crop_face(whole, box, expand)
        )


def test_a_replicated_border_repeats_the_outermost_pixels(make):
    pixels = make.picture(80, 60)
    prepared = prepare_image(
        make.encoded(pixels, "png"), lambda _: (2, 4, 42, 34), ImageSettings(expand=2, border="replicate")
    )
    crop = decode_image(prepared.data)
    # Grown about (22, 19) to 80 x 60: from (-18, -11) to (62, 49), on even pixels from (-18, -12) to (62, 50).
    assert crop.shape == (62, 80, 3)
    assert prepared.face_box == (20, 16, 40, 30)
    columns = np.clip(np.arange(-18, 62), 0, 79)
    rows = np.clip(np.arange(-12, 50), 0, 59)
    np.testing.assert_array_equal(crop, pixels[rows][:, columns])


def test_encoding_again_is_only_done_when_asked_for(make):
    data = make.encoded(make.picture(120, 90), quality=95)
    again = prepare_image(data, box_of, ImageSettings(reencode=60))
    with PIL.Image.open(io.BytesIO(again.data)) as image:
        assert image.format == "JPEG"
        assert image.layer[0][1:3] == (1, 1), "full colour resolution"
        assert image.quantization[0][0] > 10
    exact = prepare_image(data, box_of, ImageSettings(reencode="png"))
    np.testing.assert_array_equal(
        crop_face(decode_image(exact.data), exact.face_box), crop_face(decode_image(data), AS_XYWH)
    )
    kept = prepare_image(data, None, ImageSettings(reencode="png"))
    np.testing.assert_array_equal(decode_image(kept.data), decode_image(data))


def test_frames_are_written_without_loss(make):
    pixels = make.picture(120, 90)
    np.testing.assert_array_equal(decode_image(prepare_frame(pixels, None, ImageSettings()).data), pixels)
    prepared = prepare_frame(pixels, box_of, ImageSettings(expand=1))
    np.testing.assert_array_equal(decode_image(prepared.data)[: 61 - 20], pixels[20:61, 30:70])
    assert prepared.face_box == (0, 0, 40, 41)
    assert prepare_frame(pixels, None, ImageSettings(reencode=80)).data.startswith(b"\xff\xd8")


def test_broken_images_and_wrong_boxes_are_errors(make):
    data = make.encoded(make.picture(120, 90))
    for broken in (b"", b"no image", data[:200], data[:-30]):
        with pytest.raises(ValueError):
            prepare_image(broken, None, ImageSettings())
    for box, message in (
        ((50, 50, 50, 60), "has no area"),
        ((100, 50, 150, 80), r"\(100, 50\) to \(150, 80\) isn't within the image of 120 x 90 pixels"),
        ((500, 500, 600, 600), "isn't within the image"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare_image(data, lambda _, box=box: box, ImageSettings())


def test_a_box_that_sticks_out_a_little_is_clipped():
    assert face_box_in((-3.2, 5.9, 40.1, 92.0), 120, 90) == (0, 5, 41, 85)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_turn_as_pixels_do(make, orientation):
    stored = make.picture(60, 40)
    seen = upright(stored, orientation)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(seen, decode_image(make.encoded(stored, "png", exif=exif)))
    height, width = seen.shape[:2]
    region = Region(5, 7, 31, 22)
    part = stored_region(region, orientation, width, height)
    np.testing.assert_array_equal(
        upright(stored[part.top : part.bottom, part.left : part.right], orientation), seen[7:22, 5:31]
    )
    assert seen_region(part, orientation, width, height) == region


def test_endings_of_names():
    crop, keep = ImageSettings(), ImageSettings(keep_images=True)
    assert [output_suffix(suffix, crop, True) for suffix in (".JPG", ".png", ".webp", ".tif", "")] == [
        *(".JPG", ".png", ".png", ".png", ".png")
    ]
    assert output_suffix(".webp", keep, True) == output_suffix(".webp", crop, False) == ".webp"
    assert output_suffix(".bmp", ImageSettings(reencode=90), False) == ".jpg"
    assert output_suffix(".jpg", ImageSettings(reencode="png"), False) == ".png"


@pytest.mark.parametrize("mode", ["1", "P"])
def test_pngs_of_fewer_bits_and_palettes_get_eight_bits_a_channel(make, mode):
    stream = io.BytesIO()
    PIL.Image.fromarray(make.picture(120, 90)).convert(mode).save(stream, "png")
    crop = PIL.Image.open(io.BytesIO(prepare_image(stream.getvalue(), box_of, ImageSettings(expand=1.3)).data))
    assert crop.mode == {"1": "L", "P": "RGB"}[mode]


def test_encoding_keeps_gray_gray(make):
    gray = make.picture()[:, :, 0]
    with PIL.Image.open(io.BytesIO(encode(gray, None))) as image:
        assert image.mode == "L"
