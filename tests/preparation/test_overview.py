"""The sheet of samples."""

import matplotlib.colors
import numpy as np
import PIL.Image
import pytest

from patchnet_hf.inference.pictures import VERDICT_COLORS
from patchnet_hf.preparation.descriptions import describe
from patchnet_hf.preparation.overview import MOST_KINDS, draw_overview
from patchnet_hf.preparation.rows import PreparedRow


@pytest.fixture
def rows_of(tmp_path, make):
    """Makes captures of an attack type and device, each in a colour of its own."""

    def rows(attack_type: str, device: str, colors: list[tuple[int, int, int]], face_box=None):
        made = []
        for index, color in enumerate(colors):
            name = f"{attack_type}-{device}-{index}.png"
            make.write(tmp_path / name, make.encoded(np.full((40, 40, 3), color, np.uint8), "png"))
            made.append(PreparedRow(name, describe(attack_type=attack_type, device=device), "here", face_box, name))
        return made

    return rows


def drawn(rows, tmp_path, samples=4) -> np.ndarray:
    draw_overview(rows, tmp_path, tmp_path / "overview.png", samples)
    return np.asarray(PIL.Image.open(tmp_path / "overview.png").convert("RGB")).astype(int)


def places_of(sheet: np.ndarray, color) -> np.ndarray:
    """Row and column of all pixels of a colour."""
    if isinstance(color, str):
        color = [round(255 * value) for value in matplotlib.colors.to_rgb(color)]
    return np.argwhere((np.abs(sheet - np.array(color)) <= 2).all(axis=2))


def test_captures_stand_in_the_row_of_their_kind_under_its_colour(rows_of, tmp_path):
    green, pink, cyan = (10, 200, 10), (250, 80, 200), (0, 220, 220)
    sheet = drawn(
        [*rows_of("print", "a", [pink]), *rows_of("bonafide", "b", [cyan]), *rows_of("bonafide", "a", [green])],
        tmp_path,
    )
    tops = {color: places_of(sheet, color)[:, 0] for color in (green, cyan, pink)}
    # Bona fides first, by device.
    assert tops[green].max() < tops[cyan].min() and tops[cyan].max() < tops[pink].min()
    frames = {verdict: places_of(sheet, color)[:, 0] for verdict, color in VERDICT_COLORS.items()}
    assert frames["live"].max() < frames["spoof"].min()
    assert frames["spoof"].min() < tops[pink].min() <= tops[pink].max() < frames["spoof"].max()


def test_samples_are_spread_over_all_captures(rows_of, tmp_path):
    colors = [(10 * index, 255 - 10 * index, 128) for index in range(25)]
    sheet = drawn(rows_of("print", "a", colors), tmp_path, samples=3)
    shown = [index for index, color in enumerate(colors) if len(places_of(sheet, color)) > 500]
    assert shown == [0, 12, 24]


def test_the_face_box_is_drawn(rows_of, tmp_path):
    def yellow(sheet: np.ndarray) -> np.ndarray:  # thin lines are mixed with what is behind them
        return np.argwhere((sheet[..., 1] - sheet[..., 2] > 60) & (sheet[..., 0] > 100))

    with_box = drawn(rows_of("print", "a", [(0, 20, 140)], face_box=(10, 10, 20, 20)), tmp_path)
    dark = places_of(with_box, (0, 20, 140))
    first, last = dark.min(axis=0), dark.max(axis=0)
    # A quarter to three quarters of the picture, in both directions.
    shares = (yellow(with_box) - first) / (last - first)
    assert len(shares) > 100
    np.testing.assert_allclose([shares.min(axis=0), shares.max(axis=0)], [[0.25, 0.25], [0.75, 0.75]], atol=0.03)
    assert not len(yellow(drawn(rows_of("print", "a", [(0, 20, 140)]), tmp_path)))


def test_a_dollar_in_a_name_is_no_mathematics(rows_of, tmp_path):
    color = (10, 200, 10)
    assert len(places_of(drawn(rows_of("print", "$x_$", [color]), tmp_path), color)) > 500


def test_many_kinds_do_not_make_an_endless_sheet(rows_of, tmp_path):
    rows = [row for index in range(MOST_KINDS + 5) for row in rows_of("print", f"{index:03d}", [(9, 9, 9)])]
    assert drawn(rows, tmp_path, samples=1).shape[0] < 200 * (MOST_KINDS + 2)
