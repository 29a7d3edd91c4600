"""Pictures with their liveness map over the face, and the names of their files."""

import functools
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from ..whole_file import whole_file
from .liveness_map import LivenessMap, LivenessMapper
from .pictures import COLOR_MAP, VERDICT_COLORS
from .scoring import CaptureScore
from .sources import Source

# Drawn with Pillow: a Matplotlib figure takes ten times as long, and there may be thousands of captures.
SMALLEST, NARROWEST, LARGEST = 448, 300, 1000
MARGIN, BAR_WIDTH, HEADER, FOOTER, SCALE_WIDTH = 14, 22, 62, 34, 92
SURROUNDINGS = 0.25
OPACITY = 0.5
DARKEST = 70
LONGEST_NAME = 100


def draw_overlay(score: CaptureScore, liveness: LivenessMap, threshold: float) -> Image.Image:
    """
    A picture with its liveness map over the face, a colour bar, the verdict and P(live).

    Blue is accepted at the threshold and red isn't, the nearer to it the paler; under the map the picture is grey, so
    that its own colours aren't taken for scores.

    Args:
        score: of the picture, with its pixels.
        liveness: its map.
        threshold: the model's decision threshold, a probability.
    """
    shown, region = _around_face(score.image, liveness.region)
    scale = _scale(shown.shape)
    panel = _resized(shown, scale)
    top, left, bottom, right = (round(side * scale) for side in region)
    # A line of pixels is still there where the picture is shrunk.
    top, left = min(top, panel.shape[0] - 1), min(left, panel.shape[1] - 1)
    bottom, right = max(bottom, top + 1), max(right, left + 1)
    over = cv2.resize(liveness.over_region(), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    face = panel[top:bottom, left:right]
    # Lightened, for on black all colours look alike.
    grey = DARKEST + (255 - DARKEST) / 255 * cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None]
    panel[top:bottom, left:right] = (OPACITY * colors(over, threshold) + (1 - OPACITY) * grey).round().astype(np.uint8)

    # A narrow picture gets white beside it, so that the text and the colour bar have room.
    height, width = max(panel.shape[0], NARROWEST), max(panel.shape[1], NARROWEST)
    sheet = Image.new("RGB", (width + 2 * MARGIN + SCALE_WIDTH, height + HEADER + FOOTER), "white")
    sheet.paste(Image.fromarray(panel), (MARGIN, HEADER))
    draw = ImageDraw.Draw(sheet)
    if score.face_box is not None:
        box = (MARGIN + left, HEADER + top, MARGIN + right - 1, HEADER + bottom - 1)
        draw.rectangle(box, outline="white", width=2)
    name = score.path.name if score.frame is None else f"{score.path.name}, frame {score.frame}"
    _text(draw, (MARGIN, 9), name, 16, sheet.width - 2 * MARGIN, bold=False)
    decided = f"{score.verdict}, P(live) = {score.probability:.3f}"
    end = _text(draw, (MARGIN, 32), decided, 19, sheet.width, bold=True, fill=VERDICT_COLORS[score.verdict])
    room = sheet.width - MARGIN - end
    _text(draw, (end + 10, 36), f"threshold {threshold:.3g}", 14, room, bold=False, fill="#555555")
    rows, columns = liveness.log_odds.shape
    how = "densely" if liveness.method == "dense" else "one by one"
    size = liveness.patch_size
    caption = f"{rows} x {columns} positions of patches of {size} x {size} pixels, scored {how}"
    _text(draw, (MARGIN, HEADER + height + 9), caption, 13, sheet.width - 2 * MARGIN, bold=False, fill="#555555")
    _color_bar(sheet, draw, (MARGIN + width + 16, HEADER + 22), height - 44, threshold)
    return sheet


def colors(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """
    Colours of live probabilities, 0 to 255 in `(..., 3)`: red at 0, yellow at the threshold, blue at 1.

    >>> colors(np.array([0.0, 0.8, 1.0]), 0.8).round().astype(int).tolist()
    [[165, 0, 38], [254, 255, 192], [49, 54, 149]]
    """
    place = np.interp(probabilities, [0.0, threshold, 1.0], [0.0, 0.5, 1.0])
    return 255 * matplotlib.colormaps[COLOR_MAP](place)[..., :3]


class Overlays:
    """
    Draws captures with their liveness maps into a folder, each into a file of its own.

    Args:
        mapper: makes the maps.
        folder: made where it isn't there.
        sources: all that will be drawn; none of them may lie in the folder, where it could be overwritten.

    Raises:
        InputError: the folder can't be made or isn't one, or a source lies in it.
    """

    def __init__(self, mapper: LivenessMapper, folder: str | Path, sources: Iterable[Source]):
        self.mapper, self.folder = mapper, Path(folder)
        self._given: set[str] = set()
        there = self.folder.resolve()
        files = [source.path for source in sources if source.kind != "camera"]
        if inside := next((file for file in files if file.resolve().parent == there), None):
            raise InputError(f"{inside} lies in {folder}, where the overlays shall go; name another folder for them")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} can't be made a folder of overlays: {error.strerror}") from error

    def draw(self, score: CaptureScore) -> CaptureScore:
        """Draws an image or all frames of a clip; its score comes back with the map and the file of each.

        Raises:
            InputError: the file can't be written, or the model gives no scores of single patches.
        """
        if score.error is not None:
            return score
        if score.frames:
            return replace(score, frames=tuple(map(self.draw, score.frames)))
        liveness, path = self.mapper(score.image, score.face_box), self.folder / self._new_name(score)
        save_picture(draw_overlay(score, liveness, self.mapper.scorer.config.decision_threshold), path)
        return replace(score, liveness=liveness, overlay=path)

    def _new_name(self, score: CaptureScore) -> str:
        """The capture's name, with the frame's number, and with a further number where it was given already."""
        stem = re.sub(r"[^\w.-]+", "_", score.path.stem).strip("._")
        # File systems count bytes, of which a letter may have four.
        stem = stem.encode()[:LONGEST_NAME].decode(errors="ignore") or "image"
        stem += "" if score.frame is None else f"_frame{score.frame:05d}"
        name, count = stem, 1
        # Some file systems don't tell A from a.
        while name.lower() in self._given:
            count += 1
            name = f"{stem}_{count}"
        self._given.add(name.lower())
        return f"{name}.png"


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a picture as PNG, whole or not at all.

    Raises:
        InputError: it can't be written.
    """
    try:
        with whole_file(path) as unfinished:
            # Most of a picture is noise, which takes long to pack and gets little smaller.
            picture.save(unfinished, format="PNG", compress_level=3)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from error


def _around_face(image: np.ndarray, region: tuple[int, int, int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The part of a picture to show, the face with some surroundings, and where the face is in it."""
    top, left, bottom, right = region
    more_rows, more_columns = round(SURROUNDINGS * (bottom - top)), round(SURROUNDINGS * (right - left))
    first_row, first_column = max(top - more_rows, 0), max(left - more_columns, 0)
    shown = image[first_row : bottom + more_rows, first_column : right + more_columns]
    return shown, (top - first_row, left - first_column, bottom - first_row, right - first_column)


def _scale(shape: tuple[int, ...]) -> float:
    height, width = shape[:2]
    return min(max(SMALLEST / min(height, width), 1.0), LARGEST / max(height, width))


def _resized(image: np.ndarray, scale: float) -> np.ndarray:
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


@functools.cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    # The font that comes with Matplotlib is there on every machine.
    return ImageFont.truetype(findfont("DejaVu Sans:bold" if bold else "DejaVu Sans"), size)


def _text(draw, corner, text: str, size: int, room: float, bold: bool, fill="black") -> float:
    """Writes a line that is cut where it doesn't fit into `room` pixels; returns where it ends."""
    font, whole = _font(size, bold), text
    while text and draw.textlength(text + "…" * (text != whole), font=font) > room:
        text = text[:-1]
    draw.text(corner, text + "…" * (text != whole), font=font, fill=fill)
    return corner[0] + draw.textlength(text, font=font)


def _color_bar(sheet: Image.Image, draw, corner: tuple[int, int], height: int, threshold: float) -> None:
    left, top = corner
    column = colors(np.linspace(1, 0, height), threshold).round().astype(np.uint8)
    sheet.paste(Image.fromarray(np.repeat(column[:, None], BAR_WIDTH, axis=1)), corner)
    draw.rectangle((left - 1, top - 1, left + BAR_WIDTH, top + height), outline="#555555")
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        row = top + round((1 - value) * (height - 1))
        draw.line((left + BAR_WIDTH, row, left + BAR_WIDTH + 4, row), fill="#555555")
        draw.text((left + BAR_WIDTH + 8, row), f"{value:g}", font=_font(13, False), fill="black", anchor="lm")
    row = top + round((1 - threshold) * (height - 1))
    draw.line((left - 1, row, left + BAR_WIDTH, row), fill="black", width=2)
    draw.polygon([(left - 3, row), (left - 10, row - 5), (left - 10, row + 5)], fill="black")
    draw.text((left, top - 8), "P(live)", font=_font(13, False), fill="black", anchor="ls")
    draw.text((left, top + height + 8), "attack", font=_font(13, False), fill="black", anchor="lt")
