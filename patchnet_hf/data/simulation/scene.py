"""A procedural face: what stands before the first camera, in linear light.

The head is a height field (an ellipsoid with a nose, sockets, lips and chin), shaded by a key light, a fill light
and the sky; skin carries blotches, freckles, stubble and pores, hair carries strands. Frontal crops only: the head
is turned by moving its features sideways.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .texture import bank_side, cloud_bank, fibre_bank, pore_bank, random_window, smooth_noise, strand_bank

# Linear reflectance (R, G, B) of human skin from dark to light, after published forearm and cheek measurements
# (NIST reference data of human skin reflectance, Cooksey et al. 2015) reduced to sRGB primaries.
SKIN_TONES = np.array(
    [
        [0.060, 0.032, 0.022],
        [0.125, 0.066, 0.043],
        [0.235, 0.130, 0.085],
        [0.370, 0.220, 0.150],
        [0.500, 0.325, 0.240],
        [0.620, 0.440, 0.355],
    ],
    np.float32,
)
HAIR_COLOURS = np.array(
    [[0.012, 0.010, 0.009], [0.035, 0.022, 0.014], [0.090, 0.052, 0.028], [0.28, 0.19, 0.10], [0.30, 0.29, 0.28]],
    np.float32,
)
IRIS_COLOURS = np.array([[0.04, 0.02, 0.01], [0.10, 0.055, 0.02], [0.09, 0.11, 0.05], [0.10, 0.17, 0.25]], np.float32)


@dataclass(frozen=True)
class Person:
    """An identity: the shape, colours and habits of one face. Lengths are in half-widths of the picture."""

    skin: np.ndarray  # (3,) linear reflectance
    hair: np.ndarray  # (3,) linear reflectance
    iris: np.ndarray  # (3,) linear reflectance
    half_width: float
    half_height: float
    jaw: float  # how much the face narrows towards the chin
    hairline: float  # height of the hairline above the face's centre
    hair_volume: float
    long_hair: bool
    eye_height: float
    eye_distance: float
    eye_size: float
    brow_weight: float
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    lip_fullness: float
    lip_redness: float
    stubble: float  # 0 = none, 1 = full beard
    freckles: float
    blotches: float
    pores: float
    glasses: bool


def sample_person(rng: np.random.Generator) -> Person:
    """Draws an identity; every field is independent of how the face will be presented."""
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    skin = np.array([np.interp(tone, np.arange(len(SKIN_TONES)), SKIN_TONES[:, c]) for c in range(3)])
    hair = HAIR_COLOURS[rng.choice(5, p=[0.35, 0.25, 0.18, 0.12, 0.10])] * rng.uniform(0.7, 1.3)
    beard = rng.random()
    return Person(
        skin=(skin * rng.normal(1, [0.03, 0.04, 0.06])).astype(np.float32),
        hair=hair.astype(np.float32),
        iris=(IRIS_COLOURS[rng.integers(4)] * rng.uniform(0.7, 1.3)).astype(np.float32),
        half_width=rng.uniform(0.62, 0.74),
        half_height=rng.uniform(0.84, 0.98),
        jaw=rng.uniform(0.12, 0.34),
        hairline=rng.uniform(0.52, 0.72),
        hair_volume=rng.uniform(0.02, 0.16),
        long_hair=bool(rng.random() < 0.45),
        eye_height=rng.uniform(0.14, 0.22),
        eye_distance=rng.uniform(0.27, 0.33),
        eye_size=rng.uniform(0.105, 0.135),
        brow_weight=rng.uniform(0.25, 1.0),
        nose_length=rng.uniform(0.40, 0.50),
        nose_width=rng.uniform(0.10, 0.16),
        mouth_height=rng.uniform(0.44, 0.54),
        mouth_width=rng.uniform(0.20, 0.28),
        lip_fullness=rng.uniform(0.035, 0.065),
        lip_redness=rng.uniform(0.1, 0.8),
        stubble=0.0 if beard < 0.55 else rng.uniform(0.1, 0.45) if beard < 0.8 else rng.uniform(0.6, 1.0),
        freckles=rng.uniform(0.3, 1.0) if rng.random() < 0.25 else 0.0,
        blotches=rng.uniform(0.02, 0.10),
        pores=rng.uniform(0.015, 0.07),
        glasses=bool(rng.random() < 0.2),
    )


def smoothstep(values: np.ndarray, width: float) -> np.ndarray:
    """0 below -width/2, 1 above +width/2, a cubic between: an anti-aliased edge at 0."""
    ramp = np.clip(values / width + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def bump(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], spread: tuple[float, float]) -> np.ndarray:
    """A Gaussian hill of height 1; x is (1, n), y is (n, 1), so that the hill is an outer product."""
    along_x = np.exp(-0.5 * ((x - centre[0]) / spread[0]) ** 2)
    along_y = np.exp(-0.5 * ((y - centre[1]) / spread[1]) ** 2)
    return along_y * along_x


def colour_temperature(rng: np.random.Generator, spread: float = 1.0) -> np.ndarray:
    """(3,) linear RGB of a light between a warm lamp and a blue sky, luminance near 1."""
    warmth = spread * rng.uniform(-1, 1)
    tint = spread * rng.normal(0, 0.03)
    return np.array([1 + 0.22 * warmth, 1 + tint, 1 - 0.30 * warmth], np.float32)


def background(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) float32 radiance of what is behind the head: a wall, shelves, blinds or lights, out of focus."""
    base = rng.uniform(0.04, 0.75) * rng.uniform(0.75, 1.0, 3)
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = base
    picture *= (0.7 + 0.6 * smooth_noise(side, 2, rng))[..., None]
    kind = rng.integers(0, 4)
    if kind == 1:
        for _ in range(rng.integers(6, 18)):
            left, top = (int(v) for v in rng.integers(-side // 8, side, 2))
            width, height = (int(v) for v in rng.integers(side // 24, side // 3, 2))
            colour = tuple(float(v) for v in rng.uniform(0.02, 0.8) * rng.uniform(0.4, 1.0, 3))
            cv2.rectangle(picture, (left, top), (left + width, top + height), colour, -1)
    elif kind == 2:
        period, slant = rng.uniform(0.05, 0.2), rng.uniform(-0.3, 0.3)
        x = np.linspace(0, 1, side, dtype=np.float32)
        across = x[None, :] + slant * x[:, None] if rng.random() < 0.5 else x[:, None] + slant * x[None, :]
        picture *= (1 - rng.uniform(0.2, 0.7) * smoothstep(np.sin(2 * np.pi * across / period), 0.6))[..., None]
    elif kind == 3:
        for _ in range(rng.integers(4, 14)):
            centre = tuple(int(v) for v in rng.integers(0, side, 2))
            colour = tuple(float(v) for v in rng.uniform(0.3, 1.6) * rng.uniform(0.4, 1.0, 3))
            cv2.circle(picture, centre, int(rng.uniform(0.01, 0.07) * side), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), side * 10 ** rng.uniform(-3.0, -1.5))


def weave(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) float32 relief of cloth about 0: plain, knitted or woven, so that live pictures hold grids too."""
    depth = max(rng.uniform(-0.15, 0.25), 0.0)
    ramp = np.arange(side, dtype=np.float32)
    warp = np.sin(2 * np.pi * ramp / rng.uniform(10, 30)) * rng.uniform(0.3, 1)
    weft = np.sin(2 * np.pi * ramp / rng.uniform(10, 30))
    return (depth * (warp[None, :] + weft[:, None])).astype(np.float32)


def face_half_width(person: Person, y: np.ndarray) -> np.ndarray:
    """Half the face's width at each height y (positive is down), before the ellipse closes it."""
    lower = np.clip((y - 0.1) / 0.9, 0, 1)
    return person.half_width * (1 - person.jaw * lower**1.5)


def height_field(person: Person, x: np.ndarray, y: np.ndarray, turn: float) -> np.ndarray:
    """(n, n) float32 depth towards the camera of the head, in the units of x and y."""
    radius = np.sqrt(np.minimum((x / face_half_width(person, y)) ** 2 + (y / person.half_height) ** 2, 0.97))
    z = 0.72 * np.sqrt(1 - radius**2)
    eyes, nose, mouth = -person.eye_height, person.nose_length / 2 - 0.06, person.mouth_height
    for sign in (-1, 1):
        eye = (turn + sign * person.eye_distance, eyes)
        z -= 0.075 * bump(x, y, eye, (0.13, 0.085))
        z += 0.045 * bump(x, y, eye, (0.085, 0.055))
        z += 0.040 * bump(x, y, (turn + sign * person.eye_distance, eyes - 0.15), (0.16, 0.05))
        z += 0.050 * bump(x, y, (turn + sign * 0.40, eyes + 0.27), (0.13, 0.10))
        z += 0.055 * bump(x, y, (1.3 * turn + sign * person.nose_width * 0.75, nose + 0.10), (0.045, 0.045))
    z += 0.10 * bump(x, y, (1.2 * turn, nose - 0.13), (0.075, 0.17))
    z += 0.15 * bump(x, y, (1.4 * turn, nose + 0.08), (0.080, 0.075))
    z += 0.045 * bump(x, y, (1.1 * turn, mouth - 0.030), (person.mouth_width * 0.6, 0.030))
    z += 0.055 * bump(x, y, (1.1 * turn, mouth + 0.045), (person.mouth_width * 0.5, 0.035))
    z -= 0.030 * bump(x, y, (1.1 * turn, mouth + 0.005), (person.mouth_width * 0.8, 0.012))
    z += 0.060 * bump(x, y, (turn, person.half_height - 0.14), (0.15, 0.09))
    return z.astype(np.float32)


def blend(picture: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Paints `colour` (3,) or (n, n, 3) over `picture` in place where `mask` (n, n) is 1."""
    picture += mask.astype(np.float32)[..., None] * (np.asarray(colour, np.float32) - picture)


def render_scene(person: Person, side: int, rng: np.random.Generator) -> np.ndarray:
    """Renders one view of `person` under a random light, before a random background.

    Returns (side, side, 3) float32 linear RGB radiance, 0 and up; the skin's mean lies near 0.3.
    Shapes are drawn at half the resolution and enlarged; the fine texture is drawn at the full one.
    """
    half = (side + 1) // 2
    # The picture spans a little more than [-1, 1], since the camera's hand shake crops into it.
    ramp = np.linspace(-1.12, 1.12, half, dtype=np.float32)
    zoom = rng.uniform(0.94, 1.08)
    x, y = zoom * ramp[None, :] + rng.normal(0, 0.03), zoom * ramp[:, None] + rng.normal(0.02, 0.03)
    turn = float(np.clip(rng.normal(0, 0.045), -0.1, 0.1))
    pixel = 2.24 / half

    z = height_field(person, x, y, turn)
    slope_y, slope_x = np.gradient(z, pixel)
    length = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    angle, elevation = rng.uniform(-1.2, 1.2), rng.uniform(-0.1, 0.9)
    light = np.array(
        [np.sin(angle) * np.cos(elevation), -np.sin(elevation), np.cos(angle) * np.cos(elevation)], np.float32
    )
    facing = (-slope_x * light[0] - slope_y * light[1] + light[2]) * length
    halfway = light + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    shine = np.clip((-slope_x * halfway[0] - slope_y * halfway[1] + halfway[2]) * length, 0, 1)
    key, fill = colour_temperature(rng), colour_temperature(rng, 0.7)
    hardness = rng.uniform(0.25, 0.9)
    # Light scatters under the skin, red furthest: shade falls off more softly in red.
    wrapped = [np.clip((facing + wrap) / (1 + wrap), 0, None) for wrap in (0.42, 0.25, 0.20)]
    ambient = (1 - hardness) * (0.75 + 0.25 * length - 0.15 * slope_y * length)
    lighting = np.stack([hardness * key[c] * wrapped[c] + ambient * fill[c] for c in range(3)], axis=-1)

    clouds = random_window(cloud_bank(1024), half, rng)
    albedo = np.empty((half, half, 3), np.float32)
    albedo[:] = person.skin
    eyes, mouth = -person.eye_height, person.mouth_height
    nose = person.nose_length / 2 - 0.06
    flush = 0.5 * bump(x, y, (1.4 * turn, nose + 0.08), (0.11, 0.10))
    for sign in (-1, 1):
        flush = flush + 0.6 * bump(x, y, (turn + sign * 0.36, eyes + 0.38), (0.16, 0.13))
    flush = (0.3 * flush + person.blotches * clouds)[..., None]
    albedo *= 1 + flush * np.array([-0.05, -0.55, -0.55], np.float32)
    # Forehead and cheeks are a little lighter than the sockets and the jaw.
    for sign in (-1, 1):
        albedo *= (1 - 0.28 * bump(x, y, (turn + sign * person.eye_distance, eyes + 0.02), (0.15, 0.09)))[..., None]
        nostril = (1.4 * turn + sign * person.nose_width * 0.55, nose + 0.155)
        albedo *= (1 - 0.75 * bump(x, y, nostril, (0.032, 0.018)))[..., None]
    albedo *= (1 - 0.3 * bump(x, y, (1.4 * turn, nose + 0.18), (0.13, 0.025)))[..., None]

    speckle = random_window(pore_bank(1024), half, rng)
    if person.freckles:
        zone = bump(x, y, (turn, nose), (0.42, 0.24)) * person.freckles
        blend(albedo, 0.45 * zone * smoothstep(speckle - 1.5, 0.6), person.skin * [0.5, 0.38, 0.32])
    beard_zone = smoothstep(y - (mouth - 0.12) + 0.9 * np.abs(x - turn) ** 2 - 0.12, 0.24)
    beard_zone = beard_zone * (1 - 0.9 * bump(x, y, (1.1 * turn, mouth + 0.01), (person.mouth_width, 0.05)))
    beard = person.stubble * beard_zone
    if person.stubble:
        blend(albedo, beard * np.clip(0.55 + 0.35 * speckle, 0, 1), person.hair * 1.2)

    corner = np.clip(1 - ((x - 1.1 * turn) / person.mouth_width) ** 2, 0, None)
    opening = y - mouth - 0.012 * np.cos((x - 1.1 * turn) * 12)
    upper = smoothstep(opening + person.lip_fullness * corner**0.7, 0.016) * smoothstep(-opening, 0.012)
    lower = smoothstep(opening, 0.012) * smoothstep(1.25 * person.lip_fullness * corner**0.6 - opening, 0.016)
    lip = person.skin * (1 - person.lip_redness * np.array([0.15, 0.55, 0.45], np.float32))
    blend(albedo, (0.85 * upper + 0.75 * lower) * (corner > 0), lip)
    smile = rng.uniform(0.004, 0.022)
    blend(albedo, 0.9 * smoothstep(smile * corner - np.abs(opening), 0.014) * (corner > 0), person.skin * 0.12)

    openness = rng.uniform(0.36, 0.52)
    gaze = rng.normal(0, 0.15, 2).astype(np.float32)
    sclera_colour = np.array([0.50, 0.46, 0.44], np.float32)
    for sign in (-1, 1):
        centre_x, centre_y = turn + sign * person.eye_distance, eyes
        across = (x - centre_x) / person.eye_size
        along = (y - centre_y) / person.eye_size
        lid = np.clip(1 - across**2, 0, None)
        inside = smoothstep(openness * lid - np.abs(along + 0.06 * across * sign), 0.10) * (lid > 0)
        blend(albedo, inside, sclera_colour * (1 - 0.35 * across[..., None] ** 2))
        radius = np.sqrt((across - gaze[0]) ** 2 + (along - 0.4 * gaze[1]) ** 2)
        blend(albedo, inside * smoothstep(0.44 - radius, 0.10), person.iris * (0.7 + 0.9 * radius[..., None]))
        blend(albedo, inside * smoothstep(0.19 - radius, 0.08), np.float32(0.004))
        lash = smoothstep(0.10 - np.abs(along + openness * lid + 0.02), 0.12) * (np.abs(across) < 1.1)
        blend(albedo, 0.8 * lash, person.hair * 0.5)
        crease = bump(across, along + 0.22 * across**2, (0, -openness - 0.28), (0.8, 0.07))
        albedo *= (1 - 0.35 * crease)[..., None]
        brow_y = centre_y - 0.155 + 0.25 * (x - centre_x) ** 2 * 3 - 0.03 * across * sign
        brow = smoothstep(0.034 * (1.1 - 0.35 * across * sign) - np.abs(y - brow_y), 0.035)
        brow = brow * smoothstep(1.35 - np.abs(across), 0.4)
        blend(albedo, person.brow_weight * brow * np.clip(0.75 + 0.3 * speckle, 0, 1), person.hair)

    picture = albedo * lighting
    oil = rng.uniform(0.02, 0.16)
    picture += (oil * hardness * (shine**18 + 0.4 * shine**9))[..., None] * key
    for sign in (-1, 1):
        glint = (turn + sign * person.eye_distance + 0.03 * light[0], eyes + 0.03 * light[1] - 0.01)
        picture += (rng.uniform(0.3, 1.0) * bump(x, y, glint, (0.010, 0.010)))[..., None] * key

    # From back to front: background, clothes and neck, head, hair.
    behind = background(half, rng)
    strands = random_window(strand_bank(bank_side(side)), side, rng)
    hair_light = person.hair * (
        0.5 * key * hardness * (0.6 + 0.8 * smooth_noise(half, 3, rng))[..., None] + 0.5 * fill
    )
    volume = 1 + person.hair_volume
    hair_width = person.half_width * (1.03 + 0.6 * person.hair_volume)
    shell = np.sqrt((x / hair_width) ** 2 + (y / (person.half_height * volume)) ** 2)
    # Long hair falls past the jaw and widens a little; short hair ends behind the ears.
    falling = np.abs(x) / (hair_width * (1 + 0.10 * np.maximum(y, 0) + 0.03 * np.sin(7 * y)))
    back = np.where(y > 0, falling, shell) if person.long_hair else shell
    back_hair = smoothstep(1 - back, 0.05)
    if not person.long_hair:
        back_hair = back_hair * smoothstep(-0.12 - y, 0.2)
    blend(behind, back_hair, hair_light)
    neck = smoothstep(0.42 + 0.1 * y - np.abs(x), 0.03) * smoothstep(y - 0.3, 0.2)
    blend(behind, neck, person.skin * (0.35 * key * hardness + 0.3 * fill))
    clothes = smoothstep(y - (1.05 - 0.25 * np.abs(x) ** 0.5 * (np.abs(x) > 0.36)), 0.03)
    blend(behind, clothes, rng.uniform(0.02, 0.6) * rng.uniform(0.3, 1, 3).astype(np.float32))
    radius = np.sqrt((x / face_half_width(person, y)) ** 2 + (y / person.half_height) ** 2)
    face = smoothstep(0.965 - radius, 0.03)
    ears = sum(
        smoothstep(1 - np.hypot((x - s * person.half_width * 0.99) / 0.07, (y + 0.05) / 0.19), 0.25) for s in (-1, 1)
    )
    blend(behind, np.clip(ears, 0, 1), person.skin * (0.5 * key * hardness + 0.35 * fill))
    behind += face[..., None] * (picture - behind)
    fringe = -person.hairline + 0.10 * (smooth_noise(half, 7, rng) - 0.5)
    fringe = fringe + 0.62 * np.abs((x - 0.5 * turn) / person.half_width) ** 5
    top = smoothstep(1 - shell, 0.05) * smoothstep(fringe - y, 0.06)
    blend(behind, top, hair_light)
    if person.glasses:
        frame_colour = np.float32(rng.uniform(0.005, 0.15))
        for sign in (-1, 1):
            ring = np.hypot((x - turn - sign * person.eye_distance) / 1.25, (y - eyes - 0.02) / 1.0)
            blend(behind, smoothstep(0.016 - np.abs(ring - 0.165), 0.014), frame_colour)
        bridge = smoothstep(0.014 - np.abs(y - eyes + 0.02), 0.012) * (np.abs(x - turn) < person.eye_distance - 0.2)
        blend(behind, bridge, frame_colour)

    # The fine texture is one factor on all three channels, drawn at full resolution.
    finest = bank_side(side)
    pores = random_window(pore_bank(finest), side, rng)
    skin_mask = (1.4 * person.pores * face + 0.35 * beard * face) * (1 - top)
    hair_mask = np.clip(top + (1 - face) * back_hair * (1 - neck) * (1 - clothes), 0, 1)
    rest = (1 - face) * (1 - hair_mask)
    layers = np.dstack([behind, skin_mask, 0.6 * hair_mask, rest * clothes, rest * (1 - clothes)]).astype(np.float32)
    enlarged = cv2.resize(layers, (side, side), interpolation=cv2.INTER_LINEAR)
    texture = 1 + enlarged[..., 3] * pores + enlarged[..., 4] * strands
    texture += enlarged[..., 5] * weave(side, rng)
    if rng.random() < 0.6:
        wall, relief = ((pore_bank, 0.14), (fibre_bank, 0.14), (strand_bank, 0.35), (cloud_bank, 0.5))[rng.integers(4)]
        texture += np.float32(relief * rng.uniform(0.1, 1)) * enlarged[..., 6] * random_window(wall(finest), side, rng)
    return np.maximum(enlarged[..., :3] * np.maximum(texture, 0.05)[..., None], 0)
