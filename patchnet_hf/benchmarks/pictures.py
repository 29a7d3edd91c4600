"""Pictures to measure with, where what they show doesn't matter."""

import numpy as np

WIDTH, HEIGHT = 640, 480


def noise_pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """
    Noise, smooth and rough, dark and bright: a network's answers to them differ.

    Args:
        count: how many; the first of them are the same for any count.
        seed: of the noise.

    Returns:
        `(480, 640, 3)` uint8 RGB each.
    """
    pictures = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        rough = random.normal(size=(HEIGHT, WIDTH, 3), scale=random.uniform(1, 60))
        slope = np.linspace(-1, 1, WIDTH)[:, None] * random.uniform(-80, 80, size=3)
        pictures.append((random.uniform(30, 220, size=3) + rough + slope).round().clip(0, 255).astype(np.uint8))
    return pictures
