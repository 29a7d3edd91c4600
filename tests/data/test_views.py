"""Views: non-distorted patches to train on and the grid to evaluate on."""

import io

import cv2
import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from patchnet_hf import PatchNetImageProcessor
from patchnet_hf.data.encoded_image import EncodedImage
from patchnet_hf.data.schema import capture_features
from patchnet_hf.data.streams import TrainingStream
from patchnet_hf.data.views import EvaluationViews, TrainingViews, random_patch, random_patches
from patchnet_hf.errors import InputError
from patchnet_hf.models.image_processing_patchnet import face_region, pad_to_patch

PATCH_TYPES = ["phone/live", "phone/print", "tablet/live"]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def unique_pixels(height: int, width: int, first: int = 0) -> np.ndarray:
    """An image in which every pixel has a colour of its own."""
    numbers = first + np.arange(height * width).reshape(height, width)
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)


@pytest.fixture
def captures():
    images = [unique_pixels(60, 80), unique_pixels(60, 80, 5000), unique_pixels(20, 30, 10000)]
    columns = {
        "image": [{"bytes": png(image), "path": None} for image in images],
        "label": [1, 0, 1],
        "patch_type": [0, 1, 2],
        "attack_type": ["bonafide", "print", "bonafide"],
        "source": ["test"] * 3,
        **{name: [None] * 3 for name in ("subject", "session", "video", "device")},
        "face_box": [None, [20, 10, 40, 40], None],
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(PATCH_TYPES)), images


def numbers_of(patch: np.ndarray) -> np.ndarray:
    return patch.astype(int) @ [1, 256, 65536]


def test_a_random_patch_is_an_undistorted_piece_of_the_capture():
    image = unique_pixels(50, 70)
    seen = set()
    for seed in range(200):
        numbers = numbers_of(random_patch(image, 16, np.random.default_rng(seed)))
        steps = {tuple(np.unique(np.diff(numbers, axis=axis))) for axis in (0, 1)}
        # Neighbours in the patch are neighbours in the capture: along a row (1 apart) or a column (70 apart).
        assert steps in ({(1,), (70,)}, {(-1,), (70,)}, {(1,), (-70,)}, {(-1,), (-70,)})
        seen.add((int(np.diff(numbers, axis=1)[0, 0]), int(np.diff(numbers, axis=0)[0, 0])))
    assert len(seen) == 8, "every flip and every turn occurs"


def test_random_patches_reach_every_corner():
    image = unique_pixels(20, 20)
    corners = {0, 19, 380, 399}
    reached = set()
    for seed in range(400):
        reached |= corners & set(numbers_of(random_patch(image, 16, np.random.default_rng(seed))).ravel().tolist())
    assert reached == corners


def test_training_takes_two_different_views_of_the_same_capture(captures):
    dataset, images = captures
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES)
    item = views[0]
    assert item["pixel_values"].shape == (2, 16, 16, 3) and item["pixel_values"].dtype == np.uint8
    assert not np.array_equal(*item["pixel_values"])
    of_capture = set(numbers_of(images[0]).ravel().tolist())
    assert set(numbers_of(item["pixel_values"]).ravel().tolist()) <= of_capture


def test_views_depend_on_seed_epoch_and_capture_alone(captures):
    dataset, _ = captures
    processor = PatchNetImageProcessor(patch_size=16)
    first, second = (TrainingViews(dataset, processor, PATCH_TYPES, seed=3) for _ in range(2))
    second[1], second[2]  # what was drawn before makes no difference
    np.testing.assert_array_equal(first[0]["pixel_values"], second[0]["pixel_values"])
    second.set_epoch(1)
    assert not np.array_equal(first[0]["pixel_values"], second[0]["pixel_values"])
    other_seed = TrainingViews(dataset, processor, PATCH_TYPES, seed=4)
    assert not np.array_equal(first[0]["pixel_values"], other_seed[0]["pixel_values"])


def test_workers_that_live_on_draw_other_views_in_the_next_epoch(captures):
    dataset, _ = captures
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES)
    loader = torch.utils.data.DataLoader(views, batch_size=None, num_workers=1, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        views.set_epoch(epoch)
        epochs.append([torch.as_tensor(item["pixel_values"]) for item in loader])
    alone = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES)
    alone.set_epoch(1)
    for index, (before, after) in enumerate(zip(*epochs, strict=True)):
        assert not torch.equal(before, after)
        np.testing.assert_array_equal(after, alone[index]["pixel_values"])


def test_labels_are_positions_in_the_models_patch_types_not_in_the_datasets(captures):
    dataset, _ = captures
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), ["tablet/live", "phone/print", "phone/live"])
    assert [views[index]["labels"] for index in range(3)] == [2, 1, 0]


def test_attack_types_are_numbered_from_one_and_live_captures_are_zero(captures):
    dataset, _ = captures
    processor = PatchNetImageProcessor(patch_size=16)
    views = TrainingViews(dataset, processor, PATCH_TYPES)
    assert views.attack_types == ["bonafide", "print"]
    batch = default_collate([views[index] for index in (2, 1, 0)])
    assert batch["attack_types"].tolist() == [0, 1, 0] and batch["attack_types"].dtype == torch.int64


def test_a_patch_type_that_the_model_lacks_is_named(captures):
    dataset, _ = captures
    with pytest.raises(ValueError, match="phone/print"):
        TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), ["phone/live", "tablet/live"])


def test_training_views_come_from_the_grown_face_box(captures):
    dataset, images = captures
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16, face_expand=1.1), PATCH_TYPES)
    inside = set(numbers_of(images[1][8:52, 18:62]).ravel().tolist())
    for epoch in range(30):
        views.set_epoch(epoch)
        assert set(numbers_of(views[1]["pixel_values"]).ravel().tolist()) <= inside


def test_a_capture_smaller_than_a_patch_is_mirrored(captures):
    dataset, images = captures
    item = TrainingViews(dataset, PatchNetImageProcessor(patch_size=32), PATCH_TYPES)[2]
    assert item["pixel_values"].shape == (2, 32, 32, 3)
    assert set(numbers_of(item["pixel_values"]).ravel().tolist()) <= set(numbers_of(images[2]).ravel().tolist())


def test_the_resize_recipe_crops_the_resized_face_without_turning_it(captures):
    dataset, _ = captures
    item = TrainingViews(dataset, PatchNetImageProcessor(mode="resize", patch_size=40, resize_size=48), PATCH_TYPES)[0]
    assert item["pixel_values"].shape == (2, 40, 40, 3)
    rows_grow = [numbers_of(view).mean(1) for view in item["pixel_values"]]
    assert all(np.all(np.diff(rows) > 0) for rows in rows_grow)


def test_the_resize_recipe_resamples_as_it_is_told(captures):
    dataset, images = captures
    of_area = PatchNetImageProcessor(mode="resize", patch_size=20, resize_size=20, resampling="area")
    item = TrainingViews(dataset, of_area, PATCH_TYPES)[0]
    expected = cv2.resize(images[0], (20, 20), interpolation=cv2.INTER_AREA).astype(int)
    for view in item["pixel_values"].astype(int):
        assert min(np.abs(view - expected).max(), np.abs(view[:, ::-1] - expected).max()) <= 1


def test_evaluation_takes_the_processors_grid_in_the_datasets_order(captures):
    dataset, images = captures
    processor = PatchNetImageProcessor(patch_size=16, grid=3)
    views = EvaluationViews(dataset, processor)
    assert views.labels.tolist() == [1, 0, 1] and views.attack_types == ["bonafide", "print", "bonafide"]
    np.testing.assert_array_equal(views[1]["pixel_values"], processor.views(images[1], [20, 10, 40, 40]))


def test_collation_stacks_the_bytes_of_the_views(captures):
    dataset, _ = captures
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES)
    batch = default_collate([views[0], views[1]])
    assert batch["pixel_values"].dtype == torch.uint8 and batch["labels"].tolist() == [0, 1]
    for given, item in zip(batch["pixel_values"], (views[0], views[1]), strict=True):
        np.testing.assert_array_equal(given, item["pixel_values"])


def test_normalisation_gives_channels_first_tensors_in_channels_last_memory_and_leaves_the_bytes(captures):
    dataset, _ = captures
    processor = PatchNetImageProcessor(patch_size=16)
    views = default_collate([TrainingViews(dataset, processor, PATCH_TYPES)[0]])["pixel_values"]
    before = views.clone()
    pixel_values = processor.normalize_views(views)
    assert pixel_values.shape == (1, 2, 3, 16, 16) and torch.equal(views, before)
    assert pixel_values.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    expected = (views[0, 0].numpy() / 255 - processor.image_mean) / processor.image_std
    np.testing.assert_allclose(pixel_values[0, 0], expected.transpose(2, 0, 1), atol=1e-5)


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize("box", [None, (150, 100, 120, 90), (0, 0, 20, 15)])
def test_patches_are_the_same_whether_all_of_the_image_is_decoded_or_what_they_need(box):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    data = jpeg(np.asarray(Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)))
    whole = np.asarray(Image.open(io.BytesIO(data)))
    region = face_region(480, 640, box)
    face = pad_to_patch(whole[region[0] : region[2], region[1] : region[3]], 48)
    for seed in range(20):
        random = np.random.default_rng(seed)
        expected = [random_patch(face, 48, random) for _ in range(2)]
        found = random_patches(EncodedImage(data), region, 48, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, expected)


BROKEN = [
    ({"bytes": b"no image", "path": "live/1.png"}, r"\(live/1.png\): not an image, or of a format that isn't known"),
    (
        {"bytes": None, "path": "gone/1.png"},
        r"\(gone/1.png\): No such file or directory; .*--no-embed need their",
    ),
    (None, "it has no image"),
]


@pytest.mark.parametrize(("image", "reason"), BROKEN)
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["training", "stream", "evaluation"])
def test_an_image_that_cannot_be_read_is_said_in_one_line(captures, image, reason, workers, kind):
    dataset, images = captures
    columns = {name: dataset[name][:] for name in dataset.column_names if name != "image"}
    whole = {"bytes": png(images[0]), "path": None}
    broken = datasets.Dataset.from_dict({"image": [whole, image, whole], **columns}, features=dataset.features)
    processor = PatchNetImageProcessor(patch_size=16, grid=2)
    if kind == "evaluation":
        views, name = EvaluationViews(broken, processor), "evaluated capture 1 of test"
    elif kind == "training":
        views, name = TrainingViews(broken, processor, PATCH_TYPES), "training capture 1 of test"
    else:
        views, name = (
            TrainingStream(broken.to_iterable_dataset(), processor, PATCH_TYPES),
            "a training capture of test",
        )
    loader = torch.utils.data.DataLoader(views, batch_size=1, num_workers=workers, collate_fn=list)
    with pytest.raises(InputError, match=f"^{name}.*{reason}") as error:
        list(loader)
    assert "\n" not in str(error.value)
