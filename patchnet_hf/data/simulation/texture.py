"""Random surfaces: skin pores, hair strands, paper fibre, ordered-dither thresholds.

A bank is one large texture drawn once per process from a fixed seed; a capture takes a random, randomly mirrored
window of it. Drawing fresh noise for every capture would cost more than all the optics.
"""

from functools import lru_cache

import cv2
import numpy as np

BANK_SEED = 20220318


def bank_side(side: int) -> int:
    """The side of a bank that windows of `side` pixels can move about in."""
    return max(256, 1 << int(np.ceil(np.log2(1.15 * side))))


def standardised(image: np.ndarray) -> np.ndarray:
    """`image` with mean 0 and standard deviation 1, float32."""
    image = image - image.mean()
    return (image / image.std()).astype(np.float32)


def white_noise(side: int, stream: int) -> np.ndarray:
    """(side, side) float32 Gaussian noise, one stream per bank."""
    rng = np.random.default_rng(np.random.SeedSequence(BANK_SEED, spawn_key=(stream,)))
    return rng.standard_normal((side, side), dtype=np.float32)


@lru_cache(maxsize=8)
def pore_bank(side: int) -> np.ndarray:
    """(side, side) float32, band-passed noise: pores and fine wrinkles, standard deviation 1.

    Pores are darker than they are bright, hence the one-sided power.
    """
    noise = white_noise(side, 0)
    fine = cv2.GaussianBlur(noise, (0, 0), 1.1) - cv2.GaussianBlur(noise, (0, 0), 2.2)
    other = white_noise(side, 1)
    coarse = cv2.GaussianBlur(other, (0, 0), 2.4) - cv2.GaussianBlur(other, (0, 0), 5.5)
    relief = 0.7 * standardised(fine) + standardised(coarse)
    return standardised(np.where(relief < 0, -(np.abs(relief) ** 1.1), 0.8 * relief))


@lru_cache(maxsize=8)
def strand_bank(side: int) -> np.ndarray:
    """(side, side) float32, hair: noise drawn out along gently waving, mostly vertical lines, standard deviation 1."""
    noise = cv2.GaussianBlur(white_noise(side, 2), (0, 0), 0.8)
    strands = cv2.blur(cv2.blur(noise, (1, 41)), (1, 27)) + 0.35 * cv2.blur(noise, (1, 11))
    rows, columns = np.indices((side, side), dtype=np.float32)
    wave = 15 * np.sin(rows / 64 + columns / 160) + 6 * np.sin(rows / 25 + 1)
    return standardised(cv2.remap(strands, columns + wave, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


@lru_cache(maxsize=8)
def cloud_bank(side: int) -> np.ndarray:
    """(side, side) float32, smooth noise over many scales (about 1/f), standard deviation 1."""
    clouds = np.zeros((side, side), np.float32)
    for octave, step in enumerate((8, 16, 32, 64)):
        coarse = white_noise(side // step, 10 + octave)
        clouds += step * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return standardised(clouds)


@lru_cache(maxsize=8)
def fibre_bank(side: int) -> np.ndarray:
    """(side, side) float32, paper: short fibres lying in all directions over a fine tooth, standard deviation 1."""
    fibres = np.zeros((side, side), np.float32)
    for number, angle in enumerate(np.deg2rad((0, 36, 72, 108, 144))):
        kernel = np.zeros((11, 11), np.float32)
        reach = 4.5 * np.array([np.cos(angle), np.sin(angle)])
        start, end = np.rint(5 - reach).astype(int), np.rint(5 + reach).astype(int)
        cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
        fibres += np.maximum(standardised(cv2.filter2D(white_noise(side, 20 + number), -1, kernel)), 0.8)
    tooth = cv2.GaussianBlur(white_noise(side, 30), (0, 0), 1.0)
    return standardised(standardised(fibres) + 0.7 * standardised(tooth))


@lru_cache(maxsize=8)
def dither_bank(side: int) -> np.ndarray:
    """(side, side) float32, thresholds uniform in 0..1 without low frequencies (a "blue-noise" dither array)."""
    noise = white_noise(side, 40)
    for _ in range(3):
        noise = noise - cv2.GaussianBlur(noise, (0, 0), 1.5)
        order = np.argsort(noise, axis=None, kind="stable")
        ranks = np.empty(noise.size, np.float32)
        ranks[order] = (np.arange(noise.size, dtype=np.float32) + 0.5) / noise.size
        noise = ranks.reshape(noise.shape)
    return noise


def random_window(bank: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random (side, side) window of a bank, mirrored and turned at random by half turns; a view, not a copy."""
    top, left = rng.integers(0, bank.shape[0] - side + 1, 2)
    window = bank[top : top + side, left : left + side]
    flip_rows, flip_columns = rng.integers(0, 2, 2)
    return window[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def smooth_noise(side: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) float32 noise in 0..1 that varies over about `cells` hills per side."""
    hills = rng.random((cells + 3, cells + 3), dtype=np.float32)
    return np.clip(cv2.resize(hills, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)
