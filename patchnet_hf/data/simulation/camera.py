"""A camera from the lens to the JPEG file: the chain that live faces and attacks go through alike."""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from ..simulated_mark import SIMULATED
from .presentation import LUMINANCE, Presentation

BORDER = 6  # sensor pixels around the picture, cut off after demosaicing and filtering

# ITU-T T.81, Annex K: the quantisation tables that encoders scale, in natural (row by row) order.
LUMINANCE_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMINANCE_TABLE = np.full((8, 8), 99)
CHROMINANCE_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


@dataclass(frozen=True)
class Camera:
    """A device: optics, sensor, image processing and encoder. Ranges are drawn anew for every capture."""

    name: str
    blur: tuple[float, float]  # standard deviation of the lens blur, in pixels
    lateral_colour: float  # size of the red against the blue image, relative difference
    full_well: tuple[float, float]  # electrons at white; small = high sensitivity, noisy
    read_noise: float  # electrons
    demosaicing: str  # "bilinear", "edge_aware" or "malvar"
    denoising: str  # "none", "gaussian", "bilateral" or "median"
    chroma_blur: float  # standard deviation, in pixels
    sharpening: tuple[float, float]
    sharpening_radius: float
    saturation: float
    curve: float  # strength of the S-shaped tone curve
    white_balance: float  # spread of its error
    bands: tuple[float, float]  # periods of a flickering light while the picture is read out
    jpeg_quality: tuple[int, int]
    jpeg_slope: float  # exponent over the standard table: above 1 coarser at high frequencies
    jpeg_subsampling: str  # "4:4:4", "4:2:2" or "4:2:0"


def project(radiance: np.ndarray, size: int, per_pixel: int, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """Looks at a raster from a hand-held camera: rotation, scale, shift and perspective, in one resampling.

    Returns (size * per_pixel, size * per_pixel, 3) float32, `per_pixel` samples to a sensor pixel in each direction.
    """
    side, span = radiance.shape[0], size * per_pixel
    centre = side / 2
    angle, scale = jitter * rng.normal(0, 2.2), 1 + jitter * rng.uniform(-0.025, 0.03)
    angle = np.deg2rad(np.clip(angle, -4, 4))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64) * span / 2 / scale
    corners *= 1 + jitter * rng.uniform(-0.025, 0.025, (4, 1))
    corners @= np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    room = max(side / 2 - np.abs(corners).max(), 0)
    corners += centre + jitter * rng.uniform(-1, 1, 2) * room
    target = np.array([[0, 0], [span, 0], [span, span], [0, span]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    return cv2.warpPerspective(radiance, matrix, (span, span), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Automatic exposure: brings the mean luminance to the meter's aim, which varies from scene to scene."""
    quarter = len(image) // 4  # centre-weighted: a bright wall must not hide a dark face
    centre = image[quarter:-quarter, quarter:-quarter]
    level = 0.5 * sum(weight * (cv2.mean(image)[c] + cv2.mean(centre)[c]) for c, weight in enumerate(LUMINANCE))
    return image * np.float32(0.20 * np.exp(rng.normal(0, 0.38)) / max(level, 1e-4))


def mosaic(image: np.ndarray, rng: np.random.Generator, full_well: float, read_noise: float) -> np.ndarray:
    """One colour for each photosite (RGGB) with shot and read noise: (n, n, 3) linear to (n, n) uint16."""
    raw = image[..., 1].copy()
    raw[0::2, 0::2] = image[0::2, 0::2, 0]
    raw[1::2, 1::2] = image[1::2, 1::2, 2]
    raw = np.clip(raw, 0, 1.2)
    noise = rng.standard_normal(raw.shape, dtype=np.float32)
    raw += noise * np.sqrt(raw / np.float32(full_well) + np.float32((read_noise / full_well) ** 2))
    return (np.clip(raw, 0, 1) * 65535 + 0.5).astype(np.uint16)


def demosaic(raw: np.ndarray, method: str) -> np.ndarray:
    """(n, n) uint16 RGGB mosaic to (n, n, 3) float32 linear RGB in 0..1."""
    if method == "malvar":
        return malvar_demosaic(raw.astype(np.float32) / 65535)
    code = {"bilinear": cv2.COLOR_BayerRGGB2RGB, "edge_aware": cv2.COLOR_BayerRGGB2RGB_EA}[method]
    return cv2.cvtColor(raw, code).astype(np.float32) / 65535


def malvar_demosaic(raw: np.ndarray) -> np.ndarray:
    """Gradient-corrected linear interpolation (Malvar, He and Cutler, ICASSP 2004) of an RGGB mosaic."""
    green_at_colour = np.array(
        [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]], np.float32
    )
    colour_in_row = np.array(
        [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]], np.float32
    )
    colour_at_opposite = np.array(
        [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]], np.float32
    )
    green, row, column, opposite = (
        cv2.filter2D(raw, -1, kernel / 8, borderType=cv2.BORDER_REFLECT_101)
        for kernel in (green_at_colour, colour_in_row, np.ascontiguousarray(colour_in_row.T), colour_at_opposite)
    )
    image = np.dstack([raw, raw, raw])
    red, blue = (slice(0, None, 2), slice(0, None, 2)), (slice(1, None, 2), slice(1, None, 2))
    green_by_red, green_by_blue = (slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))
    image[(*red, 1)], image[(*red, 2)] = green[red], opposite[red]
    image[(*blue, 1)], image[(*blue, 0)] = green[blue], opposite[blue]
    image[(*green_by_red, 0)], image[(*green_by_red, 2)] = row[green_by_red], column[green_by_red]
    image[(*green_by_blue, 2)], image[(*green_by_blue, 0)] = row[green_by_blue], column[green_by_blue]
    return np.clip(image, 0, 1)


def tone_map(image: np.ndarray, curve: float, rng: np.random.Generator) -> np.ndarray:
    """Linear light to display values 0..1: automatic contrast, the sRGB gamma, an S-shaped curve."""
    grey = image[::4, ::4] @ LUMINANCE
    low, high = np.quantile(grey, [0.01, 0.99])
    # Phones stretch each picture's own range, some more than others; this also evens out weak prints and dark rooms.
    black = rng.uniform(0.2, 0.95) * low
    gain = (1 - rng.uniform(0.0, 0.7)) + rng.uniform(0.2, 0.7) * 0.9 / max(high - black, 0.05)
    image = np.clip((image - black) * np.float32(gain), 0, 1.6)
    image = 1 - np.exp(-1.25 * image**1.08) if rng.random() < 0.5 else np.minimum(image, 1)
    image = cv2.pow(image.astype(np.float32), 1 / 2.2)
    strength = np.float32(curve * rng.uniform(0.3, 1.2))
    return image + strength * (image * image * (3 - 2 * image) - image)


def process(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Denoising, saturation and sharpening of display values (n, n, 3) float32 in 0..1, in luma and chroma."""
    ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luma = np.ascontiguousarray(ycc[..., 0])
    if camera.denoising == "gaussian":
        luma = cv2.GaussianBlur(luma, (0, 0), rng.uniform(0.2, 0.5))
    elif camera.denoising == "bilateral":
        luma = cv2.bilateralFilter(luma, 5, rng.uniform(0.005, 0.06), 1.2)
    elif camera.denoising == "median":
        share = np.float32(rng.uniform(0.2, 0.7))
        luma = luma + share * (cv2.medianBlur(luma, 3) - luma)
    amount = np.float32(rng.uniform(*camera.sharpening))
    # Firmware adapts to the light: the filters of one device are not the same in every picture.
    luma = luma + amount * (luma - cv2.GaussianBlur(luma, (0, 0), camera.sharpening_radius * rng.uniform(0.8, 1.3)))
    chroma = cv2.GaussianBlur(ycc[..., 1:], (0, 0), camera.chroma_blur * rng.uniform(0.7, 1.4)) - 0.5
    chroma = chroma * np.float32(camera.saturation * rng.uniform(0.8, 1.15)) + 0.5
    return np.clip(cv2.cvtColor(np.dstack([luma, chroma]), cv2.COLOR_YCrCb2RGB), 0, 1)


def quantisation_tables(quality: int, slope: float) -> list[list[int]]:
    """Luminance and chrominance tables: the standard ones bent by `slope`, scaled as libjpeg scales `quality`."""
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    tables = []
    for table in (LUMINANCE_TABLE, CHROMINANCE_TABLE):
        bent = table[0, 0] * (table / table[0, 0]) ** slope
        tables.append([int(v) for v in np.clip(np.rint(bent * scale), 1, 255).ravel()])
    return tables


def encode_jpeg(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> bytes:
    """Compresses (n, n, 3) uint8 RGB with the device's own quantisation tables and chroma subsampling."""
    quality = int(rng.integers(camera.jpeg_quality[0], camera.jpeg_quality[1] + 1))
    with io.BytesIO() as file:
        Image.fromarray(image).save(
            file,
            format="JPEG",
            qtables=quantisation_tables(quality, camera.jpeg_slope),
            subsampling=camera.jpeg_subsampling,
            comment=SIMULATED,
        )
        return file.getvalue()


def decode_jpeg(file: bytes) -> np.ndarray:
    """JPEG to (n, n, 3) uint8 RGB."""
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB"))


def capture(
    presentation: Presentation,
    camera: Camera,
    size: int,
    rng: np.random.Generator,
    per_pixel: int = 3,
    jitter: float = 1.0,
) -> bytes:
    """Photographs a presentation: a JPEG file of `size` x `size` pixels.

    The lens blurs the projected raster, each photosite averages its own square of it, and only then are colours
    sampled: patterns finer than the sensor alias into moire here, as they do in a camera.
    """
    full = size + 2 * BORDER
    view = project(presentation.radiance, full, per_pixel, jitter, rng)
    # Motion adds to defocus along one axis.
    blur = rng.uniform(*camera.blur) * per_pixel
    view = cv2.GaussianBlur(view, (0, 0), blur, sigmaY=blur * rng.uniform(1, 1.25))
    image = cv2.resize(view, (full, full), interpolation=cv2.INTER_AREA)
    if camera.lateral_colour:
        for channel, sign in ((0, 1), (2, -1)):
            zoom = 1 + sign * camera.lateral_colour
            shift = (1 - zoom) * full / 2
            matrix = np.float32([[zoom, 0, shift], [0, zoom, shift]])
            image[..., channel] = cv2.warpAffine(
                image[..., channel], matrix, (full, full), borderMode=cv2.BORDER_REPLICATE
            )
    if presentation.flicker:
        rows = np.arange(full, dtype=np.float32) / full
        wave = np.sin(2 * np.pi * rng.uniform(*camera.bands) * rows + rng.uniform(0, 2 * np.pi))
        image *= (1 + presentation.flicker * np.tanh(1.5 * wave))[:, None, None].astype(np.float32)
    image = expose(image, rng)
    # White balance: divide by the picture's own cast (grey world, in part), with an error.
    mean = np.maximum(np.array(cv2.mean(image)[:3]), 1e-4)
    cast = (mean / mean[1]) ** rng.uniform(0.25, 0.6)
    image *= (np.exp(rng.normal(0, camera.white_balance, 3)) / cast).astype(np.float32)

    full_well = float(np.exp(rng.uniform(*np.log(camera.full_well))))
    raw = mosaic(image, rng, full_well, camera.read_noise)
    image = tone_map(demosaic(raw, camera.demosaicing), camera.curve, rng)
    image = process(image, camera, rng)[BORDER : BORDER + size, BORDER : BORDER + size]
    return encode_jpeg((image * 255 + 0.5).astype(np.uint8), camera, rng)
