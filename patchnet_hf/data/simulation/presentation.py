"""What the camera is shown: a face itself, a print of its photograph, or a screen that replays it.

Everything is a raster of radiance, several samples to a pixel of the camera that will look at it, so that halftone
cells and display subpixels are there as objects; moire is left to the camera's sampling.
Lengths called "period" or "pitch" are in pixels of that camera: they hold the distance of the attack.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .scene import colour_temperature
from .texture import bank_side, dither_bank, fibre_bank, random_window, smooth_noise

TILE_CELLS = 48  # resolution of a display pixel's picture, along each side
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)

# Linear transmittance (R, G, B) of solid cyan, magenta, yellow and black ink; the side absorptions make the gamut.
INKS = {
    "toner": np.array([[0.07, 0.45, 0.75], [0.62, 0.05, 0.22], [0.93, 0.78, 0.06], [0.03, 0.03, 0.03]], np.float32),
    "dye": np.array([[0.10, 0.52, 0.80], [0.70, 0.07, 0.30], [0.95, 0.84, 0.08], [0.06, 0.06, 0.07]], np.float32),
}


@dataclass(frozen=True)
class Printer:
    """A printer with its paper.

    `screening` is "clustered" (a dot of variable size on a rotated grid for each ink) or "dispersed" (equal droplets
    scattered by a dither array).
    """

    material: str
    screening: str
    period: tuple[float, float]  # of the halftone cell, or of the droplet grid
    angles: tuple[float, float, float, float]  # of the cyan, magenta, yellow and black screens, in degrees
    inks: str
    dot_gain: tuple[float, float]
    scatter: tuple[float, float]  # optical dot gain: share of the light that leaves the paper far from where it fell
    grain: tuple[float, float]  # of the paper, relative
    gloss: float


@dataclass(frozen=True)
class Screen:
    """A display: its subpixels, its primaries as seen by the camera, and its flicker."""

    material: str
    layout: str  # see `subpixel_tile`
    pitch: tuple[float, float]  # of one display pixel
    fill: float  # open share of a subpixel's width and height
    haze: tuple[float, float]  # share of the light that the cover glass or film spreads over the pixels around
    primaries: tuple[tuple[float, float, float], ...]  # rows: camera R, G, B for display R, G, B
    black_level: tuple[float, float]  # of white
    flicker: tuple[float, float]  # depth of the light's modulation
    gloss: float


@dataclass(frozen=True)
class Presentation:
    """A raster to be captured.

    radiance: (side, side, 3) float32 linear RGB, 0 and up. flicker: depth of the light's periodic modulation, which
    a rolling shutter turns into bands.
    """

    radiance: np.ndarray
    flicker: float


def to_linear(picture: np.ndarray) -> np.ndarray:
    """uint8 sRGB to float32 linear light in 0..1, by table."""
    code = np.arange(256, dtype=np.float32) / 255
    table = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return table[picture]


def present_live(scene: np.ndarray, rng: np.random.Generator) -> Presentation:
    """The face itself; only the lamp's mains flicker is added."""
    return Presentation(scene, lamp_flicker(rng))


def lamp_flicker(rng: np.random.Generator) -> float:
    """Depth of the room light's flicker: none for most lamps, so that bands alone don't mean a screen."""
    return rng.uniform(0.02, 0.10) if rng.random() < 0.35 else 0.0


def ink_coverages(photograph: np.ndarray, printer: Printer, rng: np.random.Generator) -> np.ndarray:
    """Coverage 0..1 of each ink for a linear RGB picture: (n, n, 3) to (n, n, 4) float32.

    Subtractive separation with partial grey-component replacement, then dot gain (Yule-Nielsen's optical spread
    taken as a parabola over the coverage).
    """
    # The driver stretches the picture to the paper and lifts its middle to a printable tone.
    target = np.minimum(photograph / max(float(np.quantile(photograph[::4, ::4], 0.98)), 0.05), 1)
    quarter = len(target) // 4
    middle = float(np.median(target[quarter:-quarter:4, quarter:-quarter:4]))
    lift = np.log(rng.uniform(0.25, 0.5)) / np.log(min(max(middle, 0.02), 0.9))
    target = 0.08 + 0.90 * cv2.pow(target, float(np.clip(lift, 0.35, 1.8)))
    transmittance = INKS[printer.inks]
    main = np.array([transmittance[0, 0], transmittance[1, 1], transmittance[2, 2]], np.float32)
    wanted = np.clip((1 - target) / (1 - main), 0, 1)
    # The inks' side absorptions darken each other: a driver's profile takes ink back for that.
    wanted = wanted**1.5
    black = rng.uniform(0.45, 0.85) * wanted.min(axis=-1, keepdims=True)
    coverage = np.concatenate([(wanted - black) / (1 - black + 1e-3), black], axis=-1)
    gain = np.float32(rng.uniform(*printer.dot_gain))
    return np.clip(coverage + gain * coverage * (1 - coverage), 0, 1).astype(np.float32)


def clustered_dots(
    coverage: np.ndarray, period: float, angle: float, softness: float, rng: np.random.Generator
) -> np.ndarray:
    """Screens one ink with round dots on a rotated square grid: coverage (n, n) to ink (n, n), both 0..1 float32.

    The threshold is the mean of two cosines; a rotated cosine is a difference of outer products, which spares
    n * n cosines. `period` is in samples, `angle` in radians.
    """
    n = len(coverage)
    ramp = np.arange(n, dtype=np.float32)
    threshold = np.zeros((n, n), np.float32)
    for direction in (angle, angle + np.pi / 2):
        kx = np.float32(2 * np.pi * np.cos(direction) / period) * ramp + np.float32(rng.uniform(0, 2 * np.pi))
        ky = np.float32(2 * np.pi * np.sin(direction) / period) * ramp[:, None]
        threshold += np.cos(ky) * np.cos(kx)
        threshold -= np.sin(ky) * np.sin(kx)
    # (c1 + c2) / 4 + 1/2 crowds around 1/2; the wider spread below brings the printed tone back near linear.
    ink = coverage - (0.5 + 0.27 * threshold)
    ink *= 1 / softness
    ink += 0.5
    return np.clip(ink, 0, 1, out=ink)


def dispersed_dots(coverage: np.ndarray, period: float, softness: float, rng: np.random.Generator) -> np.ndarray:
    """Screens one ink with scattered equal droplets on a grid of `period` samples; as :func:`clustered_dots`."""
    side = len(coverage)
    grid = int(np.ceil(side / period))
    tone = cv2.resize(coverage, (grid, grid), interpolation=cv2.INTER_AREA)
    droplets = (tone > random_window(dither_bank(bank_side(grid)), grid, rng)).astype(np.float32)
    ink = cv2.resize(droplets, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip((ink - 0.5) / (0.5 + softness) + 0.5, 0, 1)


def gloss(side: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) float32 radiance of the room mirrored in a shiny surface: a window, a lamp, a soft wall."""
    small = 96
    picture = np.zeros((small, small), np.float32)
    if rng.random() < 0.6:
        corners = rng.uniform(-0.3, 1.3, 2) + np.array([[0, 0], [1, 0.1], [0.9, 1.2], [0, 1]]) * rng.uniform(0.2, 0.8)
        cv2.fillConvexPoly(picture, np.rint(corners * small).astype(np.int32), 1.0)
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.5, 12))
    picture = (picture + 0.5 * smooth_noise(small, 2, rng)) * strength * rng.random()
    return cv2.resize(picture[..., None] * colour_temperature(rng), (side, side), interpolation=cv2.INTER_LINEAR)


def present_print(
    photograph: np.ndarray, printer: Printer, side: int, per_pixel: float, rng: np.random.Generator
) -> Presentation:
    """Prints a photograph and lights the sheet.

    photograph: (n, n, 3) uint8 sRGB, the attacker's picture. side: of the raster. per_pixel: raster samples to a
    pixel of the camera to come.
    """
    coverage = ink_coverages(to_linear(photograph), printer, rng)
    period = rng.uniform(*printer.period) * per_pixel
    softness = rng.uniform(0.12, 0.35)
    turn = rng.normal(0, 2.0)
    tones = cv2.split(cv2.resize(coverage, (side, side), interpolation=cv2.INTER_LINEAR))
    if printer.screening == "clustered":
        inks = [
            clustered_dots(tone, period, np.deg2rad(angle + turn), softness, rng)
            for tone, angle in zip(tones, printer.angles, strict=True)
        ]
    else:
        inks = [dispersed_dots(tone, period, softness, rng) for tone in tones]
        # Passes of the print head that don't quite meet.
        pass_height = rng.uniform(5, 14) * period
        seam = np.sin(2 * np.pi * np.arange(side, dtype=np.float32) / pass_height + rng.uniform(0, 6.28))
        depth = np.float32(rng.uniform(0.0, 0.25))
        for ink in inks[:2]:
            ink *= (1 - depth * np.clip(seam, 0, 1) ** 4)[:, None]
    scatter = np.float32(rng.uniform(*printer.scatter))
    inks = [(1 - scatter) * ink + scatter * tone for ink, tone in zip(inks, tones, strict=True)]
    absorbance = -np.log(INKS[printer.inks])
    density = cv2.transform(cv2.merge(inks), np.ascontiguousarray(-absorbance.T))
    reflectance = cv2.exp(density)
    paper = random_window(fibre_bank(bank_side(side)), side, rng)
    grain = np.float32(rng.uniform(*printer.grain))
    tint = (rng.uniform(0.80, 0.95) * np.array([1.0, rng.uniform(0.97, 1.0), rng.uniform(0.90, 1.02)])).astype("f4")
    light = colour_temperature(rng) * tint
    shade = (0.6 + 0.8 * smooth_noise(side, 1, rng)) * (1 + grain * paper)
    radiance = reflectance * shade[..., None]
    radiance *= light
    radiance += gloss(side, printer.gloss, rng)
    return Presentation(radiance, lamp_flicker(rng))


def subpixel_tile(layout: str, fill: float) -> np.ndarray:
    """The light of a uniformly white display over one repeat of its subpixels, mean 1 in each channel.

    Returns (p * TILE_CELLS, p * TILE_CELLS, 3) float32 for a repeat of p display pixels. Layouts: "stripe" (vertical
    red, green and blue stripes), "stripe_vertical" (the same, turned to portrait), "pentile" (diamonds; red and blue
    at every other pixel), "chevron" (slanted blue, green and red stripes that change sides row by row).
    """
    repeat = 2 if layout in ("pentile", "chevron") else 1
    n = repeat * TILE_CELLS
    position = (np.arange(n, dtype=np.float32) + 0.5) / TILE_CELLS
    x, y = np.meshgrid(position, position)
    tile = np.zeros((n, n, 3), np.float32)
    if layout == "pentile":
        for channel, centres, reach in (
            (0, [(0.5, 0.5), (1.5, 1.5)], 0.50 * fill),
            (1, [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)], 0.36 * fill),
            (2, [(1.5, 0.5), (0.5, 1.5)], 0.56 * fill),
        ):
            for cx, cy in centres:
                dx, dy = np.abs((x - cx + 1) % 2 - 1), np.abs((y - cy + 1) % 2 - 1)
                tile[..., channel] += dx + dy < reach
    else:
        if layout == "stripe_vertical":
            x, y = y, x
        if layout == "chevron":
            x = x + 0.35 * (np.abs(y % 2 - 1) - 0.5)
        rows = np.abs(y % 1 - 0.5) < 0.5 * (0.55 + 0.4 * fill)
        order = (2, 1, 0) if layout == "chevron" else (0, 1, 2)
        for place, channel in enumerate(order):
            tile[..., channel] = (np.abs(x % 1 - (place + 0.5) / 3) < fill / 6) & rows
    return tile / tile.mean(axis=(0, 1))


def present_replay(
    photograph: np.ndarray, screen: Screen, side: int, per_pixel: float, rng: np.random.Generator
) -> Presentation:
    """Shows a photograph on a display, pixel by pixel. Arguments as for :func:`present_print`."""
    pitch = rng.uniform(*screen.pitch) * per_pixel
    count = int(np.ceil(side / pitch)) + 2
    pixels = to_linear(cv2.resize(photograph, (count, count), interpolation=cv2.INTER_AREA))
    pixels = cv2.transform(pixels, np.array(screen.primaries, np.float32))
    black = np.float32(rng.uniform(*screen.black_level))
    pixels = np.maximum(pixels, 0) * (1 - black) + black

    tile = subpixel_tile(screen.layout, screen.fill)
    # A sample of the raster sees an area, not a point.
    aperture = max(1, round(TILE_CELLS / pitch))
    around = cv2.copyMakeBorder(tile, *4 * [TILE_CELLS], cv2.BORDER_WRAP)
    tile = cv2.blur(around, (aperture, aperture))[TILE_CELLS:-TILE_CELLS, TILE_CELLS:-TILE_CELLS]
    x0, y0 = rng.random(2)
    across = np.arange(side, dtype=np.float32) / pitch
    columns, rows = (across + x0), (across + y0)
    haze = np.float32(rng.uniform(*screen.haze))
    tile = (1 - haze) * tile + haze
    column_cells = (columns * TILE_CELLS).astype(np.intp) % len(tile)
    row_cells = (rows * TILE_CELLS).astype(np.intp) % len(tile)
    radiance = np.take(np.take(tile, row_cells, axis=0), column_cells, axis=1)
    values = np.take(np.take(pixels, rows.astype(np.intp), axis=0), columns.astype(np.intp), axis=1)
    radiance *= values
    radiance += gloss(side, screen.gloss, rng)
    return Presentation(radiance, rng.uniform(*screen.flicker))
