"""Whatever stands in a list or an image file: a capture, or a reason; never a traceback, never a silent loss."""

import csv
import io
import tempfile
from pathlib import Path

import cv2
import datasets
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from patchnet_hf.data import decoding
from patchnet_hf.data.conversion import convert_csv
from patchnet_hf.data.csv_files import FACE_COLUMNS, OPTIONAL_COLUMNS, read_layout, read_rows
from patchnet_hf.data.decoding import decode_image, quiet_opencv
from patchnet_hf.data.encoded_image import EncodedImage
from patchnet_hf.errors import InputError

# Slow machines are no failures, and what failed elsewhere isn't looked for here.
ALIKE = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
IMAGES = ("live.jpg", "print.png")
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\r\n\0")


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for seed, name in enumerate(IMAGES):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / name), pixels)
    (folder / "broken.jpg").write_bytes((folder / "live.jpg").read_bytes()[:200])
    (folder / "folder.jpg").mkdir()
    return folder


NAMES = st.sampled_from([*IMAGES, "broken.jpg", "folder.jpg", "missing.jpg", "../live.jpg", "/etc/hostname", ""])
CELLS = {
    "image_name": NAMES | st.text(CHARACTERS, max_size=8),
    "label": st.sampled_from(["0", "1", "1", "0", "2", "", "live"]) | st.text(CHARACTERS, max_size=3),
    **dict.fromkeys(FACE_COLUMNS, st.sampled_from(["", "0", "5", "10.0", "-1", "99999999999999", "x"])),
}


@st.composite
def lists(draw) -> tuple[list[str], list[list[str]], str]:
    """A header, rows and a delimiter."""
    faces = draw(st.booleans())
    optional = [name for name in OPTIONAL_COLUMNS if name not in FACE_COLUMNS]
    header = ["image_name", "label", *draw(st.lists(st.sampled_from(optional), unique=True, max_size=4))]
    header = draw(st.permutations(header + list(FACE_COLUMNS) * faces))
    short = st.text(CHARACTERS, max_size=4)
    row = st.tuples(*(CELLS.get(name, short) for name in header)).map(list)
    # Now and then a row lacks a cell, or has one too many.
    uneven = st.tuples(row, st.integers(1, len(header) + 1)).map(lambda given: (given[0] + ["x"])[: given[1]])
    rows = draw(st.lists(row | row | row | uneven, min_size=1, max_size=12))
    return header, rows, draw(st.sampled_from(",;\t|"))


def written(header: list[str], rows: list[list[str]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


@ALIKE
@given(content=lists())
@example(content=(["image_name", "label"], [["live.jpg", "1"], ["print.png", "0"], ["missing.jpg", "1"]], ";"))
def test_what_is_kept_and_what_is_rejected_are_all_rows(faces, content):
    header, rows, delimiter = content
    # A blank line is no row.
    assume(all(any(cell.strip() for cell in row) for row in rows))
    with tempfile.TemporaryDirectory() as folder:
        path, output = faces / "list.csv", Path(folder) / "out"
        path.write_text(written(header, rows, delimiter), encoding="utf-8")
        try:
            summary = convert_csv([path], output, on_error="skip", num_proc=1, progress=False)
        except InputError as error:
            assert str(error)
            assert not output.exists()
            # A list of bad rows alone, and a patch type with both labels, are no datasets.
            assert "no usable row" in str(error) or "with both labels" in str(error), error
            return
        (split,) = summary.splits.values()
        captures = datasets.load_from_disk(output)["list"]
        rejected = []
        if (output / "rejected.csv").exists():
            rejected = list(csv.DictReader((output / "rejected.csv").open(encoding="utf-8", newline="")))
        assert (len(captures), len(rejected)) == (split.images, split.rejected)
        assert len(captures) + len(rejected) == len(rows)
        lines = [int(row["line"]) for row in rejected]
        kept = [row for number, row in enumerate(rows, 2) if number not in lines]
        at = header.index("label")
        assert [str(label) for label in captures["label"][:]] == [row[at].strip() for row in kept]
        assert all(row["reason"] for row in rejected)


@ALIKE
@given(text=st.text(st.sampled_from("image_name,label;01\n\r\"| \t'live.jpg\0é"), max_size=200) | st.text(max_size=80))
@example(text='image_name,label\n"live.jpg,1\n')
@example(text="image_name,label\nlive.jpg,1\x00\n")
def test_any_text_is_read_as_rows_or_refused_in_words(faces, text):
    path = faces / "any.csv"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        for row in read_rows(path, read_layout(path)):
            assert row.line >= 1
    except InputError as error:
        assert str(error)


@ALIKE
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_as_rows_or_refused_in_words(faces, data):
    path = faces / "bytes.csv"
    path.write_bytes(data)
    try:
        list(read_rows(path, read_layout(path)))
    except InputError as error:
        assert str(error)


def encoded(image_format: str, mode: str = "RGB", **options) -> bytes:
    noise = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(cv2.resize(noise, (53, 37), interpolation=cv2.INTER_CUBIC)).convert(mode)
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


EXIF = PIL.Image.Exif()
EXIF[0x0112] = 6
FILES = [
    encoded("JPEG"),
    encoded("JPEG", progressive=True, subsampling=0),
    encoded("JPEG", exif=EXIF),
    encoded("JPEG", "CMYK"),
    encoded("PNG"),
    encoded("PNG", "P"),
    encoded("WEBP"),
    encoded("WEBP", lossless=True, exif=EXIF),
    encoded("BMP"),
]


@st.composite
def damaged(draw) -> bytes:
    """An image file with some bytes changed, removed or put in."""
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 4))):
        # Most of what matters stands at the beginning.
        position = draw(st.integers(0, len(data)) | st.integers(0, min(len(data), 64)))
        length = draw(st.integers(0, 8))
        data[position : position + length] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


def pixels_or_reason(function, *arguments) -> np.ndarray | str:
    try:
        pixels = function(*arguments)
    except ValueError as error:
        assert str(error)
        return str(error)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    return pixels


@settings(ALIKE, max_examples=300)
@given(data=damaged() | st.binary(max_size=60))
def test_any_bytes_are_pixels_or_no_image_for_a_reason(monkeypatch, data):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 10**6)
    with quiet_opencv():
        pixels_or_reason(decode_image, data)
        pixels_or_reason(decode_image, data, "opencv")


@settings(ALIKE, max_examples=300)
@given(data=damaged(), share=st.tuples(*[st.floats(0, 1)] * 4))
def test_any_region_of_any_bytes_has_the_pixels_of_the_whole_or_a_reason(monkeypatch, data, share):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 10**6)

    def region(whole: bool) -> np.ndarray:
        image = EncodedImage(data)
        if whole:
            return image.region(0, 0, image.height, image.width)
        top, bottom = sorted(round(part * (image.height - 1)) for part in share[:2])
        left, right = sorted(round(part * (image.width - 1)) for part in share[2:])
        return image.region(top, left, bottom + 1, right + 1)

    with quiet_opencv():
        expected = pixels_or_reason(decode_image, data)
        found = pixels_or_reason(region, True)
        assert type(found) is type(expected)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(found, expected)
            # What decodes as a whole decodes in parts.
            assert isinstance(pixels_or_reason(region, False), np.ndarray)
