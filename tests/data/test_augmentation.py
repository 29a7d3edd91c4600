"""Augmentation: what each transform does to an image, chances, what is repeatable, and files that can't be used."""

import colorsys
import io
import json
import os
import pickle
import random
import subprocess
import sys

import cv2
import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from patchnet_hf import PatchNetImageProcessor
from patchnet_hf.data.augmentation import Augmentation
from patchnet_hf.data.augmentation_sheet import draw_augmentation_sheet, read_faces
from patchnet_hf.data.schema import capture_features
from patchnet_hf.data.streams import TrainingStream
from patchnet_hf.data.transforms import COMPOSITIONS, OFFERED, TRANSFORMS, build_transform
from patchnet_hf.data.views import EvaluationViews, TrainingViews
from patchnet_hf.errors import InputError
from patchnet_hf.models.image_processing_patchnet import pad_to_patch

SIDE = 232
RECIPES = ("medium2", "strong3")
NEEDED = {
    **{name: {"height": 40, "width": 40} for name in ("Resize", "RandomCrop", "CenterCrop")},
    **{name: {"max_size": 40} for name in ("LongestMaxSize", "SmallestMaxSize")},
    "RandomResizedCrop": {"size": [40, 40]},
    "RandomSizedCrop": {"min_max_height": [20, 40], "size": [40, 40]},
    "CropAndPad": {"percent": [-0.2, 0.2]},
}


@pytest.fixture(scope="module")
def configs(project):
    return project / "configs" / "augmentation"


@pytest.fixture
def step(configs):
    """A transform of a shipped file, always applied; of several of a name, the one that holds `part`."""

    def found(recipe: str, name: str, part: str | None = None) -> dict:
        for entry in json.loads((configs / f"{recipe}.json").read_text()):
            if entry["transform"] == name and (part is None or part in json.dumps(entry)):
                return {**entry, "p": 1.0}
        raise AssertionError(f"{recipe} has no {name}")

    return found


def applied(entry: dict, image: np.ndarray, draws: int, patch_size: int = 32) -> list[np.ndarray]:
    """What a single transform makes of an image, many times."""
    transform = build_transform(entry, "test", patch_size)
    numbers = np.random.default_rng(0)
    transform.set_random_state(numbers, random.Random(0))
    return [transform(image=image)["image"] for _ in range(draws)]


def noise(height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def unique_pixels(height: int, width: int, first: int = 0) -> np.ndarray:
    """An image in which every pixel has a colour of its own."""
    numbers = first + np.arange(height * width).reshape(height, width)
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)


def numbers_of(image: np.ndarray) -> np.ndarray:
    return image.astype(int) @ [1, 256, 65536]


def likely(count: int, draws: int, probability: float) -> bool:
    """Within five standard deviations of a binomial distribution."""
    return abs(count - draws * probability) <= 5 * (draws * probability * (1 - probability)) ** 0.5


# What the transforms of the shipped files do to an image.


@pytest.mark.parametrize("recipe", RECIPES)
def test_resizing_averages_areas(recipe, step):
    face = noise(2 * SIDE, 2 * SIDE)
    (resized,) = applied(step(recipe, "Resize"), face, 1)
    means = face.reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3))
    assert np.abs(resized - means).max() <= 0.5


@pytest.mark.parametrize("recipe", (*RECIPES, "paper"))
def test_half_of_the_views_are_exactly_mirrored(recipe, step):
    face = noise(24, 24)
    views = applied({**step(recipe, "HorizontalFlip"), "p": 0.5}, face, 400)
    mirrored = sum(np.array_equal(view, face[:, ::-1]) for view in views)
    assert mirrored + sum(np.array_equal(view, face) for view in views) == 400
    assert likely(mirrored, 400, 0.5)


@pytest.mark.parametrize(("recipe", "largest_angle"), [("medium2", 20), ("strong3", 179)])
def test_faces_are_moved_turned_and_zoomed_within_their_limits(recipe, largest_angle, step):
    dots = {"red": (116, 116), "green": (116, 146), "blue": (86, 116)}  # centre, right of it, above it
    face = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for channel, (row, column) in enumerate(dots.values()):
        face[row - 2 : row + 3, column - 2 : column + 3, channel] = 255
    shifts, scales, angles = [], [], []
    for view in applied(step(recipe, "Affine"), face, 400):
        center, right, above = (np.array(ndimage.center_of_mass(view[..., channel])) for channel in range(3))
        shifts.append((center - (115.5, 115.5)) / SIDE)
        # Around the centre (115.5, 115.5) of the image, from which the red dot is half a pixel away.
        to_right, to_above = complex(*(right - center)[::-1]), complex(*(above - center)[::-1])
        assert abs(abs(to_right) - abs(to_above)) < 1, "both axes are zoomed alike"
        assert abs(np.angle(to_right * 1j**3 / to_above, deg=True)) < 2, "nothing is sheared or mirrored"
        scales.append(abs(to_right) / 30)
        angles.append(np.angle(to_right, deg=True))
    shifts, scales, angles = np.abs(shifts), np.array(scales), np.abs(angles)
    assert shifts.max() < 0.06 + 0.006 and shifts[:, 0].max() > 0.05 and shifts[:, 1].max() > 0.05
    assert 0.88 < scales.min() < 0.92 and 1.08 < scales.max() < 1.12
    assert 0.9 * largest_angle < angles.max() < largest_angle + 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_turn_leaves_empty_is_mirrored_from_the_face(recipe, step):
    gray = np.full((SIDE, SIDE, 3), 90, dtype=np.uint8)
    assert all((view == 90).all() for view in applied(step(recipe, "Affine"), gray, 20))


@pytest.mark.parametrize(("recipe", "limit"), [("medium2", 0.2), ("strong3", 0.3)])
def test_contrast_and_brightness_change_within_their_limits(recipe, limit, step):
    choice = step(recipe, "OneOf", "RandomBrightnessContrast")
    steps = {part["transform"]: {**part, "p": 1.0} for part in choice["transforms"]}
    levels = np.zeros((16, 16, 3), dtype=np.uint8)
    levels[:8], levels[8:] = 110, 150
    contrasts, brightnesses = [], []
    for view in applied(steps["RandomBrightnessContrast"], levels, 600):
        assert len(np.unique(view)) <= 2
        low, high = float(view[0, 0, 0]), float(view[-1, 0, 0])
        if low == 0 or high == 255:
            continue
        contrasts.append((high - low) / 40)
        brightnesses.append((low - contrasts[-1] * 110) / 255)
    tolerance = 0.03  # of rounding to whole values
    assert 1 - limit - tolerance < min(contrasts) < 1 - 0.9 * limit
    assert 1 + 0.9 * limit < max(contrasts) < 1 + limit + tolerance
    assert -limit - 0.015 < min(brightnesses) < -0.8 * limit and 0.8 * limit < max(brightnesses) < limit + 0.015


@pytest.mark.parametrize(("recipe", "clip"), [("medium2", 3), ("strong3", 4)])
def test_local_contrast_is_equalised_up_to_its_limit_and_colours_stay(recipe, clip, step):
    choice = step(recipe, "OneOf", "CLAHE")
    clahe = next(part for part in choice["transforms"] if part["transform"] == "CLAHE")
    rows = np.linspace(100, 130, SIDE)[:, None] + np.random.default_rng(0).normal(0, 3, (SIDE, SIDE))
    face = np.repeat(rows[..., None].round().astype(np.uint8), 3, axis=2)
    tile = np.s_[116:145, 116:145]
    gains = []
    for view in applied({**clahe, "p": 1.0}, face, 40):
        assert np.ptp(view.astype(int), axis=2).max() <= 2, "grey stays grey"
        gains.append(view[tile].std() / face[tile].std())
    # The slope of the mapping is the histogram's height, which is clipped at a multiple of that of all greys alike.
    assert 1 <= min(gains) < 2 and clip - 1 < max(gains) < clip + 1


@pytest.mark.parametrize(("recipe", "hue", "saturation", "value"), [("medium2", 15, 20, 15), ("strong3", 20, 25, 20)])
def test_hue_saturation_and_value_are_shifted_by_the_same_amount_everywhere(recipe, hue, saturation, value, step):
    colors = [colorsys.hsv_to_rgb(angle / 12, 0.5, 0.55) for angle in range(12)]
    face = (np.array(colors)[:, None].repeat(4, axis=1) * 255).round().astype(np.uint8)
    before = np.array([colorsys.rgb_to_hsv(*row[0] / 255) for row in face])
    shifts = []
    for view in applied(step(recipe, "HueSaturationValue"), face, 300):
        after = np.array([colorsys.rgb_to_hsv(*row[0] / 255) for row in view])
        moved = after - before
        moved[:, 0] = (moved[:, 0] + 0.5) % 1 - 0.5
        moved *= (180, 255, 255)  # units of OpenCV
        assert (np.abs(moved - moved.mean(0)) < (2, 3, 1.5)).all()
        shifts.append(moved.mean(0))
    largest = np.abs(shifts).max(0)
    limits = np.array([hue, saturation, value])
    assert (largest < limits + 2).all() and (largest > 0.9 * limits).all()
    hue_only = {**step(recipe, "HueSaturationValue"), "sat_shift_limit": 0, "val_shift_limit": 0}
    for view in applied(hue_only, face, 30):
        after = np.array([colorsys.rgb_to_hsv(*row[0] / 255) for row in view])
        assert np.abs(after[:, 1:] - before[:, 1:]).max() * 255 < 2.5, "a hue shift changes the hue alone"


@pytest.mark.parametrize(("recipe", "variance"), [("medium2", 100), ("strong3", 150)])
def test_noise_is_normal_and_its_variance_is_within_its_limit(recipe, variance, step):
    face = np.full((128, 128, 3), 128, dtype=np.uint8)
    variances = []
    for view in applied(step(recipe, "GaussNoise"), face, 150):
        added = view.astype(float) - 128
        variances.append(added.var())
        assert abs(added.mean()) < 1
        if added.var() > 25:
            within = (np.abs(added) <= added.std()).mean()
            assert within == pytest.approx(0.683, abs=0.06)  # of whole values
            channels = np.corrcoef(added.reshape(-1, 3).T)[np.triu_indices(3, 1)]
            assert np.abs(channels).max() < 0.05, "each channel has noise of its own"
    assert 0.85 * variance < max(variances) < 1.03 * variance and min(variances) < 0.05 * variance


@pytest.mark.parametrize(("recipe", "largest"), [("medium2", 3), ("strong3", 5)])
def test_a_point_is_blurred_by_its_box_along_a_line_or_taken_for_noise(recipe, largest, step):
    face = np.zeros((31, 31, 3), dtype=np.uint8)
    face[15, 15] = 225
    kinds, widest = {"median": 0, "box": 0, "motion": 0}, 0
    views = applied(step(recipe, "OneOf", "MedianBlur"), face, 600)
    for view in views:
        rows, columns = np.nonzero(view[..., 0])
        reach = 0 if not len(rows) else max(np.abs(rows - 15).max(), np.abs(columns - 15).max())
        widest = max(widest, reach)
        values, area = view[..., 0][rows, columns].astype(int), len(rows)
        if not area:
            kinds["median"] += 1
        elif area in (9, 25) and np.ptp(values) == 0 and values[0] == 225 // area:
            kinds["box"] += 1
        else:
            kinds["motion"] += 1
            # The point is spread out over at most as many places as the kernel is long, and none of it is lost.
            assert area <= largest and np.ptp(values) <= 1 and values.sum() == pytest.approx(225, abs=largest)
    assert widest == largest // 2
    assert all(likely(count, 600, 1 / 3) for count in kinds.values())


@pytest.mark.parametrize(("recipe", "smallest"), [("medium2", 0.85), ("strong3", 0.75)])
def test_downscaling_leaves_out_rows_and_columns(recipe, smallest, step):
    face = unique_pixels(200, 200)
    kept = []
    for view in applied(step(recipe, "Downscale"), face, 200):
        numbers = numbers_of(view)
        assert numbers.shape == (200, 200) and np.isin(numbers, numbers_of(face)).all()
        rows, columns = len(np.unique(numbers[:, 0])), len(np.unique(numbers[0]))
        assert rows == columns
        kept.append(rows / 200)
    assert smallest - 0.01 < min(kept) < smallest + 0.02 and 0.93 < max(kept) <= 0.955


@pytest.mark.parametrize(("recipe", "most"), [("medium2", 3), ("strong3", 4)])
def test_holes_are_few_of_their_size_and_of_one_grey(recipe, most, step):
    face = np.tile(np.array([10, 200, 30], dtype=np.uint8), (SIDE, SIDE, 1))
    counts, sides, grays = [], [], []
    for view in applied(step(recipe, "GrayDropout"), face, 400):
        holes, count = ndimage.label((view != face).any(2), np.ones((3, 3)))
        counts.append(count)
        values = view[holes > 0]
        assert len(np.unique(values)) == 1, "all holes are of the same grey, red like green like blue"
        grays.append(int(values[0, 0]))
        for place in ndimage.find_objects(holes):
            if (holes[place] > 0).all():  # others are holes that touch
                sides += [len(range(*part.indices(SIDE))) for part in place]
    assert set(counts) == set(range(1, most + 1))
    assert min(sides) == 8 and np.percentile(sides, 99) <= 32 and 32 in sides
    assert min(grays) < 20 and max(grays) > 235 and 110 < np.mean(grays) < 145
    assert (face == (10, 200, 30)).all(), "the face itself stays whole"


@pytest.mark.parametrize("recipe", RECIPES)
def test_grey_views_have_the_brightness_that_is_seen(recipe, step):
    face = noise(40, 40)
    (view,) = applied(step(recipe, "ToGray"), face, 1)
    assert (view == view[..., :1]).all()
    assert np.abs(view[..., 0] - face @ [0.299, 0.587, 0.114]).max() <= 1


def test_strong3_pads_each_side_by_up_to_a_quarter_in_a_random_grey(step):
    face = unique_pixels(80, 80, first=1 << 16)  # blue is 1, so no pixel is grey
    face[face[..., 0] == face[..., 1], 2] = 9
    grays, borders = [], []
    for view in applied(step("strong3", "CropAndPad"), face, 200):
        rows, columns = np.nonzero((view != view[..., :1]).any(2))
        top, left = rows.min(), columns.min()
        np.testing.assert_array_equal(view[top : top + 80, left : left + 80], face)
        padded = np.ones(view.shape[:2], dtype=bool)
        padded[top : top + 80, left : left + 80] = False
        grays += np.unique(view[padded]).tolist()
        borders.append((top, left, view.shape[0] - 80 - top, view.shape[1] - 80 - left))
    assert all(18 <= largest <= 20 for largest in np.max(borders, axis=0)) and np.min(borders) == 0
    assert len(grays) == len(borders) and min(grays) < 20 and max(grays) > 235


@pytest.mark.parametrize("recipe", RECIPES)
def test_crops_reach_every_position(recipe, step):
    face = unique_pixels(SIDE, SIDE)
    seen = set()
    for view in applied(step(recipe, "RandomCrop"), face, 1500):
        top, left = divmod(int(numbers_of(view[:1, :1])[0, 0]), SIDE)
        assert np.array_equal(view, face[top : top + 224, left : left + 224])
        seen.add((top, left))
    assert seen == {(top, left) for top in range(9) for left in range(9)}


@pytest.mark.parametrize(
    ("recipe", "probabilities"),
    [
        ("medium2", [1, 0.5, 0.2, 0.3, 0.3, 0.15, 0.15, 0.15, 0.3, 0.1, 1]),
        ("strong3", [1, 0.5, 0.7, 0.3, 0.3, 0.15, 0.15, 0.15, 0.3, 0.15, 0.3, 1]),
    ],
)
def test_each_transform_is_applied_as_often_as_it_shall(recipe, probabilities, configs):
    steps = json.loads((configs / f"{recipe}.json").read_text())
    face = noise(240, 240)
    assert len(steps) == len(probabilities)
    for entry, probability in zip(steps, probabilities, strict=True):
        changed = sum(not np.array_equal(view, face) for view in applied(entry, face, 300))
        assert likely(changed, 300, probability), f"{entry['transform']}: {changed} of 300"


def test_transforms_of_equal_probability_are_applied_independently():
    # With one seed for all of them, albumentations would apply both or none.
    both = Augmentation([{"transform": "HorizontalFlip", "p": 0.5}, {"transform": "VerticalFlip", "p": 0.5}], 8)
    face = unique_pixels(8, 8)
    counts = {}
    for index in range(400):
        for view in both.views(face, np.random.default_rng((0, 0, index))):
            corner = int(numbers_of(view)[0, 0])
            counts[corner] = counts.get(corner, 0) + 1
    assert set(counts) == {0, 7, 56, 63} and all(likely(count, 800, 0.25) for count in counts.values())


# The paper's own views.


def test_paper_views_are_undistorted_pieces_in_all_eight_orientations_equally_often(configs):
    augmentation = Augmentation.read(configs / "paper.json", 16)
    image = unique_pixels(50, 70)
    counts, corners = {}, set()
    for index in range(400):
        for view in augmentation.views(image, np.random.default_rng(index)):
            numbers = numbers_of(view)
            steps = tuple(np.unique(np.diff(numbers, axis=axis)) for axis in (0, 1))
            assert all(len(step) == 1 for step in steps)
            orientation = (int(steps[0][0]), int(steps[1][0]))
            counts[orientation] = counts.get(orientation, 0) + 1
            corners.add(int(numbers.min()))
    assert {(abs(row), abs(column)) for row, column in counts} == {(1, 70), (70, 1)} and len(counts) == 8
    assert all(likely(count, 800, 1 / 8) for count in counts.values())
    assert min(corners) // 70 == 0 and max(corners) // 70 == 50 - 16


def test_paper_views_of_a_face_smaller_than_a_patch_are_mirrored_as_the_recipe_mirrors_them(configs):
    augmentation = Augmentation.read(configs / "paper.json", 32)
    face = unique_pixels(21, 30)
    padded = pad_to_patch(face, 32)
    orientations = {np.rot90(turned, turns).tobytes() for turned in (padded, padded[:, ::-1]) for turns in range(4)}
    seen = {view.tobytes() for seed in range(60) for view in augmentation.views(face, np.random.default_rng(seed))}
    assert seen == orientations


# Chances: repeatable, and of each view its own.


@pytest.mark.parametrize("recipe", (*RECIPES, "paper"))
def test_equal_generators_give_equal_views_whatever_was_drawn_before(recipe, configs):
    augmentation, face = Augmentation.read(configs / f"{recipe}.json", 224), noise(260, 250)
    before = face.copy()
    first = [augmentation.views(face, np.random.default_rng((7, index)), 4) for index in range(12)]
    np.random.seed(1)
    random.seed(1)
    cv2.setRNGSeed(1)
    again = pickle.loads(pickle.dumps(augmentation))  # as a worker that isn't forked gets it
    for index in reversed(range(12)):
        np.testing.assert_array_equal(again.views(face, np.random.default_rng((7, index)), 4), first[index])
    assert len({view.tobytes() for views in first for view in views}) > 44, "the views of a face differ"
    np.testing.assert_array_equal(face, before)


def test_resizing_once_for_all_views_changes_nothing(configs):
    steps = json.loads((configs / "medium2.json").read_text())
    face = noise(300, 400)
    small = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    for seed in range(10):
        whole = Augmentation(steps, 224).views(face, np.random.default_rng(seed))
        rest = Augmentation(steps[1:], 224).views(small, np.random.default_rng(seed))
        np.testing.assert_array_equal(whole, rest)


@pytest.mark.parametrize("name", [name for name in OFFERED if name not in COMPOSITIONS])
def test_every_transform_that_is_offered_is_repeatable_and_leaves_its_input(name):
    face, outputs = noise(64, 64), []
    transform = build_transform({"transform": name, "p": 1.0, **NEEDED.get(name, {})}, "test", 40)
    for seed in (5, 5):
        np.random.seed(len(outputs))
        random.seed(len(outputs))
        cv2.setRNGSeed(len(outputs))
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        outputs.append([transform(image=face)["image"] for _ in range(3)])
    for first, second in zip(*outputs, strict=True):
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.uint8 and first.shape[2:] == (3,)
    np.testing.assert_array_equal(face, noise(64, 64))


def test_all_transforms_that_are_offered_exist():
    assert len(set(OFFERED)) == len(OFFERED) and set(TRANSFORMS) < set(OFFERED)


@pytest.mark.parametrize("composition", ["SomeOf", "RandomOrder", "Sequential"])
def test_compositions_hold_transforms(composition):
    flips = [{"transform": "HorizontalFlip", "p": 1}, {"transform": "VerticalFlip", "p": 1}]
    number = {} if composition == "Sequential" else {"n": 2}
    augmentation = Augmentation([{"transform": composition, "p": 1, "transforms": flips, **number}], 8)
    face = noise(8, 8)
    augmentation.check(face)
    np.testing.assert_array_equal(augmentation.views(face, np.random.default_rng(0))[0], face[::-1, ::-1])


# In the training data.


@pytest.fixture(scope="module")
def captures():
    def png(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    columns = {
        "image": [{"bytes": png(noise(60, 80, index)), "path": None} for index in range(6)],
        "label": [1, 0] * 3,
        "patch_type": [0, 1] * 3,
        "attack_type": ["bonafide", "print"] * 3,
        "source": ["test"] * 6,
        **{name: [None] * 6 for name in ("subject", "session", "video", "device")},
        "face_box": [[20, 10, 40, 40], *[None] * 5],
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(["live", "print"]))


STEPS = [
    {"transform": "Resize", "height": 36, "width": 36},
    {
        "transform": "OneOf",
        "p": 0.9,
        "transforms": [{"transform": "GaussNoise"}, {"transform": "MotionBlur"}, {"transform": "ISONoise"}],
    },
    {"transform": "GrayDropout", "hole_height_range": [4, 8], "hole_width_range": [4, 8], "p": 0.5},
    {"transform": "RandomCrop", "height": "patch_size", "width": "patch_size"},
]


def augmented(captures, seed: int = 3, mode: str = "resize") -> TrainingViews:
    processor = PatchNetImageProcessor(mode=mode, patch_size=32, resize_size=36, face_expand=1.0, grid=1)
    return TrainingViews(captures, processor, ["live", "print"], seed, Augmentation(STEPS, 32))


@pytest.mark.parametrize("mode", ["patches", "resize"])
def test_views_depend_on_seed_epoch_and_capture_alone(captures, mode):
    views, same, other = augmented(captures, mode=mode), augmented(captures, mode=mode), augmented(captures, 4, mode)
    items = [views[index]["pixel_values"] for index in range(6)]
    for index in reversed(range(6)):
        np.testing.assert_array_equal(same[index]["pixel_values"], items[index])
        assert items[index].shape == (2, 32, 32, 3) and not np.array_equal(*items[index])
        assert not np.array_equal(other[index]["pixel_values"], items[index])
    same.set_epoch(1)
    assert not np.array_equal(same[0]["pixel_values"], items[0])


def test_workers_give_the_views_of_one_process(captures):
    views = augmented(captures)
    for workers in (1, 2):
        loader = torch.utils.data.DataLoader(views, batch_size=None, num_workers=workers)
        for index, item in enumerate(loader):
            np.testing.assert_array_equal(item["pixel_values"], views[index]["pixel_values"])


def test_workers_augment_although_opencv_had_threads_before_they_were_forked(captures):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        cv2.GaussianBlur(noise(1000, 1000), (9, 9), 0)
        loader = torch.utils.data.DataLoader(augmented(captures), batch_size=None, num_workers=1, timeout=60)
        assert len(list(loader)) == 6
    finally:
        cv2.setNumThreads(threads)


def test_a_stream_gives_the_views_of_its_captures(captures):
    views = augmented(captures)
    stream = TrainingStream(
        captures.to_iterable_dataset(), views.processor, ["live", "print"], seed=3, augmentation=views.augmentation
    )
    items = iter(stream)
    for epoch in range(2):
        views.set_epoch(epoch)
        for index in range(6):
            np.testing.assert_array_equal(next(items)["pixel_values"], views[index]["pixel_values"])


def test_an_augmentation_sees_the_grown_face_box_alone(captures):
    views = augmented(captures)
    views.augmentation = Augmentation([{"transform": "CenterCrop", "height": 40, "width": 40}], 40)
    np.testing.assert_array_equal(views[0]["pixel_values"][0], noise(60, 80)[10:50, 20:60])


@pytest.mark.parametrize(("given", "then"), [(None, "1"), ("true", "true")])
def test_whether_albumentations_asks_for_updates_is_up_to_the_user(given, then):
    code = "import os, patchnet_hf.data.transforms; print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    environment |= {} if given is None else {"NO_ALBUMENTATIONS_UPDATE": given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [then], done.stderr


def test_evaluation_is_not_augmented(captures):
    processor = augmented(captures).processor
    first = EvaluationViews(captures, processor)[1]["pixel_values"]
    np.testing.assert_array_equal(first, processor.views(noise(60, 80, 1)))


# What can't be used.


def flip(**changes) -> dict:
    return {"transform": "HorizontalFlip", **changes}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"transform": "HorizontalFlop"}, r"transform 2: 'HorizontalFlop' is none .* did you mean HorizontalFlip"),
        ({"transform": "os.system"}, "'os.system' is none of the transforms"),
        ({"transform": "Lambda"}, "'Lambda' is none of the transforms"),
        ({"transform": "ShiftScaleRotate"}, "'ShiftScaleRotate' is none .* use Affine with keep_ratio"),
        ({"transform": ["HorizontalFlip"]}, r"transform 2 is \{.*expected a mapping"),
        ("HorizontalFlip", 'transform 2 is "HorizontalFlip"; expected a mapping'),
        ({"p": 0.5}, "transform 2 is .*expected a mapping"),
        (flip(probability=0.5), "transform 2, HorizontalFlip: unknown key 'probability'; it takes p"),
        (flip(p=1.5), r"HorizontalFlip: p is 1\.5; .*less than or equal to 1"),
        (flip(p="0.5"), 'HorizontalFlip: p is "0.5"; expected a valid number'),
        (flip(p=True), "HorizontalFlip: p is true; expected a valid number"),
        (flip(p=None), "HorizontalFlip: p is null; expected a valid number"),
        ({"transform": "Resize", "height": 32}, "Resize: width is missing"),
        ({"transform": "Resize", "height": 32.5, "width": 32}, r"Resize: height is 32\.5; expected a valid integer"),
        ({"transform": "Resize", "height": "patchsize", "width": 32}, 'height is "patchsize"; expected a valid int'),
        (
            {"transform": "Resize", "height": 8, "width": 8, "interpolation": "AREA"},
            'is "AREA"; expected .*INTER_AREA',
        ),
        ({"transform": "Resize", "height": 8, "width": 8, "interpolation": 3}, "is 3; expected one of INTER_NEAREST"),
        ({"transform": "Affine", "border_mode": "INTER_AREA"}, "border_mode is .*expected one of BORDER_CONSTANT"),
        ({"transform": "Downscale", "interpolation_pair": {"downscale": "x", "upscale": "INTER_AREA"}}, "pair.downsc"),
        ({"transform": "Downscale", "interpolation_pair": {"down": "INTER_AREA"}}, "Downscale: interpolation_pair is"),
        ({"transform": "GaussNoise", "std_range": [0, 10]}, r"GaussNoise: std_range is \[0, 10\]; .*<= 1"),
        ({"transform": "GaussNoise", "var_limit": 100}, "GaussNoise: unknown key 'var_limit'; it takes std_range"),
        ({"transform": "CoarseDropout", "num_hole_range": [1, 3]}, "'num_hole_range'; did you mean num_holes_range"),
        ({"transform": "GrayDropout", "fill": 0}, "GrayDropout: unknown key 'fill'"),
        ({"transform": "GrayDropout", "num_holes_range": [3, 1]}, r"num_holes_range is \[3, 1\]"),
        ({"transform": "Blur", "blur_limit": [7, 3]}, r"Blur: blur_limit.*min > max"),
        ({"transform": "Blur", "blur_limit": 4}, r"Blur: blur_limit"),
        ({"transform": "OneOf", "transforms": []}, r"OneOf: transforms is \[\]; expected a list of transforms"),
        ({"transform": "OneOf", "transforms": [flip(q=1)]}, "2, OneOf, transform 1, HorizontalFlip: unknown key 'q'"),
        ({"transform": "OneOf", "transforms": [flip(p=0)]}, "OneOf: p of all its transforms is 0"),
        ({"transform": "OneOf", "transforms": [flip()], "p": 2}, "OneOf: p is 2; expected a number from 0 to 1"),
        ({"transform": "OneOf", "transforms": [flip()], "n": 2}, "OneOf: unknown key 'n'"),
        (
            {"transform": "SomeOf", "transforms": [flip()], "n": 2},
            "SomeOf: n is 2; expected a whole number from 1 to 1",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tmp_path, entry, message):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([flip(), entry]))
    with pytest.raises(InputError, match=message) as raised:
        Augmentation.read(file, 32)
    assert str(raised.value).startswith(str(file)) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{]", "mine.json is no JSON"),
        ('[{"transform": "HorizontalFlip", "p": NaN}]', "is no JSON: NaN is no number"),
        ('[{"transform": "HorizontalFlip", "p": 0.5, "p": 1}]', "the key 'p' is there twice"),
        ("{}", "expected a list of transforms"),
        ("[]", "expected a list of transforms"),
        ("[" * 100_000, "is no JSON"),
        ("\ud800".encode("utf-8", "surrogatepass"), "can't be read"),
    ],
)
def test_files_that_are_no_list_of_transforms_are_refused(tmp_path, text, message):
    file = tmp_path / "mine.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        Augmentation.read(file, 32)
    with pytest.raises(InputError, match=r"other\.json doesn't exist"):
        Augmentation.read(tmp_path / "other.json", 32)
    with pytest.raises(InputError, match="can't be read"):
        Augmentation.read(tmp_path, 32)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"transform": "Resize", "height": 40, "width": 48}], "ends in 48x40 pixels, but patch_size is 32"),
        (
            [STEPS[0], {"transform": "RandomCrop", "height": 32, "width": 32, "p": 0.7}],
            "ends in 36x36 pixels, but patch_size is 32",
        ),
        (
            [{"transform": "RandomCrop", "height": 100, "width": 100}],
            "transform 1, RandomCrop, .*of 40x40 pixels: Crop",
        ),
        ([*STEPS, {"transform": "ToGray", "num_output_channels": 1, "p": 1}], r"uint8 of shape \(32, 32\)"),
        # What is nearly never applied is tried all the same.
        ([{"transform": "Downscale", "scale_range": [0, 0], "p": 1e-6}, *STEPS], "transform 1, Downscale, can't take"),
        (
            [
                {"transform": "OneOf", "p": 1e-6, "transforms": [flip(), {"transform": "CropAndPad", "px": [5, 5]}]},
                *STEPS,
            ],
            "transform 1, OneOf, can't take",
        ),
    ],
)
def test_what_can_not_be_applied_is_found_on_the_first_capture(captures, steps, message):
    processor = augmented(captures).processor
    with pytest.raises(InputError, match=message):
        TrainingViews(captures, processor, ["live", "print"], 0, Augmentation(steps, 32, "mine.json"))


def test_a_later_face_that_is_too_small_is_named_by_its_size(captures):
    augmentation = Augmentation([{"transform": "RandomCrop", "height": 32, "width": 32}], 32, "mine.json")
    with pytest.raises(InputError, match=r"mine\.json: transform 1, RandomCrop, can't take an image of 30x20 pixels"):
        augmentation.views(noise(20, 30), np.random.default_rng(0))


@pytest.mark.slow
def test_albumentations_is_imported_only_where_it_is_used_and_asks_nobody_for_updates():
    code = (
        "import sys, urllib.request\n"
        "def asked(*arguments, **options): raise SystemExit('asked for updates')\n"
        "urllib.request.OpenerDirector.open = asked\n"
        "import patchnet_hf.training.run\n"
        "assert 'albumentations' not in sys.modules\n"
        "import patchnet_hf.data.augmentation\n"
        "assert 'albumentations' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The sheet.


def test_a_sheet_shows_each_face_and_as_many_views_as_asked_for(tmp_path):
    colors = np.array([[220, 0, 220], [0, 160, 60]], dtype=np.uint8)
    faces = {f"face{number}.png$x$": np.tile(color, (40, 40, 1)) for number, color in enumerate(colors)}
    same = Augmentation([{"transform": "CenterCrop", "height": "patch_size", "width": "patch_size"}], 40)
    draw_augmentation_sheet(faces, same, tmp_path / "sheet.png", views=9)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    for color in colors:
        assert ndimage.label((sheet == color).all(2))[1] == 1 + 9


@pytest.mark.slow
def test_the_script_draws_a_sheet_or_says_in_a_line_why_not(tmp_path, project, configs):
    face = tmp_path / "face.png"
    Image.fromarray(noise(100, 90)).save(face)

    def show(*options):
        command = [sys.executable, project / "scripts" / "show_augmentations.py", *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True)

    medium = ("--augmentation", configs / "medium2.json")
    done = show(face, *medium, "--output", tmp_path / "sheet.png", "--views", 3)
    assert done.returncode == 0 and "3 views of 224 x 224" in done.stdout, done.stderr
    assert Image.open(tmp_path / "sheet.png").width > 300
    done = show(face, *medium, "--output", face)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "is one of the images" in done.stderr


def test_sheets_that_can_not_be_drawn_are_errors(tmp_path, configs):
    medium = Augmentation.read(configs / "medium2.json", 224)
    with pytest.raises(InputError, match="ends in none of"):
        draw_augmentation_sheet({"face": noise(50, 50)}, medium, tmp_path / "sheet.doc")
    with pytest.raises(InputError, match="can't be written"):
        draw_augmentation_sheet({"face": noise(50, 50)}, medium, tmp_path / "no" / "sheet.png", views=1)
    with pytest.raises(InputError, match="but patch_size is 160"):
        small = Augmentation.read(configs / "medium2.json", 160)
        draw_augmentation_sheet({"face": noise(50, 50)}, small, tmp_path / "sheet.png")
    with pytest.raises(InputError, match=r"none\.png can't be read"):
        read_faces([tmp_path / "none.png"])
    with pytest.raises(InputError, match=r"paper\.json: "):
        read_faces([configs / "paper.json"])
    Image.fromarray(noise(100, 90)).save(tmp_path / "face.png")
    with pytest.raises(InputError, match="outside the image"):
        read_faces([tmp_path / "face.png"], (200, 200, 20, 20))
    (face,) = read_faces([tmp_path / "face.png"], (20, 30, 40, 40), 1.5).values()
    np.testing.assert_array_equal(face, noise(100, 90)[20:80, 10:70])


def test_images_of_equal_names_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / folder / "face.png" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        Image.fromarray(noise(10, 10)).save(path)
    assert list(read_faces(paths)) == list(map(str, paths)) and list(read_faces(paths[:1])) == ["face.png"]
