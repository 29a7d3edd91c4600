"""Balanced sampling: groups, an epoch's length and order, repeated captures, and streams."""

import io
from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from patchnet_hf import PatchNetImageProcessor
from patchnet_hf.data.balancing import (
    BalancedSampler,
    BalancedSampling,
    balance_stream,
    balanced_epoch,
    capture_groups,
)
from patchnet_hf.data.schema import capture_features
from patchnet_hf.data.streams import TrainingStream
from patchnet_hf.data.views import TrainingViews
from patchnet_hf.errors import InputError

PATCH_TYPES = ["phone/live", "phone/print"]


def image(number: int) -> dict:
    """An image all of one colour that tells which capture it is, with noise in green that tells views apart."""
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    pixels[..., 0] = number
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def captures(labels, sources=None, first=0, patch_types=PATCH_TYPES, **columns) -> datasets.Dataset:
    count = len(labels)
    values = {
        "image": [image(first + number) for number in range(count)],
        "label": list(labels),
        "patch_type": [patch_types.index(PATCH_TYPES[0] if label else PATCH_TYPES[1]) for label in labels],
        "attack_type": ["bonafide" if label else "print" for label in labels],
        "source": list(sources or ["test"] * count),
        **{name: [None] * count for name in ("subject", "session", "video", "device", "face_box")},
        **columns,
    }
    return datasets.Dataset.from_dict(values, features=capture_features(patch_types))


def groups_of_sizes(*sizes) -> list[np.ndarray]:
    """Groups of positions that are scattered over the dataset."""
    positions = np.random.default_rng(0).permutation(sum(sizes))
    return [np.sort(part) for part in np.split(positions, np.cumsum(sizes)[:-1])]


def sampler_of(*sizes, length="max", seed=0) -> BalancedSampler:
    return BalancedSampler({(f"g{n}",): part for n, part in enumerate(groups_of_sizes(*sizes))}, length, seed)


def drawn(sampler, epoch=0) -> np.ndarray:
    sampler.set_epoch(epoch)
    return np.array(list(sampler))


def group_counts(ids, sizes) -> list[int]:
    positions = np.asarray(ids) % sum(sizes)
    return [int(np.isin(positions, part).sum()) for part in groups_of_sizes(*sizes)]


@pytest.mark.parametrize(
    ("length", "each"), [("max", [11, 11, 11]), ("min", [3, 3, 3]), (12, [4, 4, 4]), (99, [33, 33, 33])]
)
def test_each_group_is_drawn_equally_often(length, each):
    sampler = sampler_of(11, 3, 5, length=length)
    assert len(sampler) == len(drawn(sampler)) == sum(each)
    for epoch in range(3):
        assert group_counts(drawn(sampler, epoch), (11, 3, 5)) == each


def test_counts_differ_by_at_most_one_where_a_number_does_not_divide_and_not_always_in_favour_of_the_same():
    sampler = sampler_of(11, 3, 5, length=10)
    counts = [group_counts(drawn(sampler, epoch), (11, 3, 5)) for epoch in range(60)]
    assert all(sorted(count) == [3, 3, 4] for count in counts)
    favoured = np.argmax(counts, axis=1)
    # 60 draws of one in three: 20 each, standard deviation 3.7.
    assert all(5 < np.sum(favoured == group) < 35 for group in range(3))


@pytest.mark.parametrize("length", ["max", "min", 7, 50])
def test_captures_are_drawn_without_replacement_until_their_group_is_exhausted(length):
    sizes = (11, 3, 5)
    sampler = sampler_of(*sizes, length=length)
    for epoch in range(5):
        positions = drawn(sampler, epoch) % 19
        for part in groups_of_sizes(*sizes):
            of_group = [position for position in positions if position in part]
            # Cut into pieces of the group's size, no piece holds a capture twice.
            for start in range(0, len(of_group), len(part)):
                piece = of_group[start : start + len(part)]
                assert len(set(piece)) == len(piece)
            counts = [of_group.count(position) for position in part]
            mean = len(of_group) / len(part)
            assert all(count in (np.floor(mean), np.ceil(mean)) for count in counts)


def test_the_rounds_of_an_exhausted_group_have_different_orders():
    ids = drawn(sampler_of(40, 8))
    small = set(groups_of_sizes(40, 8)[1].tolist())
    rounds = np.array([position for position in ids % 48 if position in small]).reshape(5, 8)
    assert len({tuple(order) for order in rounds.tolist()}) == 5


def test_an_id_says_capture_and_times_drawn_before():
    ids = drawn(sampler_of(11, 3, 5, length=60))
    assert len(set(ids.tolist())) == 60
    for capture in range(19):
        times = [int(number) // 19 for number in ids if number % 19 == capture]
        assert times == list(range(len(times)))


def test_every_block_holds_each_group_once_in_an_order_that_varies():
    sizes = (20, 4, 9, 1)
    ids = drawn(sampler_of(*sizes))
    blocks = (ids % sum(sizes)).reshape(-1, 4)
    parts = groups_of_sizes(*sizes)
    orders = [tuple(next(n for n, part in enumerate(parts) if c in part) for c in block) for block in blocks]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(orders)) > 8, "of 24 orders, 20 blocks have more than 8"


def test_seed_and_epoch_alone_determine_the_sequence():
    reference = drawn(sampler_of(11, 3, 5), epoch=4)
    again = sampler_of(11, 3, 5)
    drawn(again, 1), torch.manual_seed(5), np.random.seed(5)
    np.testing.assert_array_equal(drawn(again, 4), reference)
    assert not np.array_equal(drawn(again, 5), reference)
    assert not np.array_equal(drawn(sampler_of(11, 3, 5, seed=1), 4), reference)


@pytest.mark.parametrize(("large", "small", "passes"), [(11, 3, 4), (19, 10, 2), (7, 7, 1)])
def test_min_has_seen_all_of_a_large_group_after_as_many_epochs_as_that_takes(large, small, passes):
    sampler = sampler_of(large, small, length="min")
    members = set(groups_of_sizes(large, small)[0].tolist())
    epochs = [{int(c) for c in drawn(sampler, epoch) % (large + small)} & members for epoch in range(passes)]
    assert [len(epoch) for epoch in epochs] == [small] * passes
    assert set.union(*epochs) == members


def test_min_passes_all_captures_of_a_large_group_before_it_takes_one_again():
    sampler = sampler_of(12, 4, length="min")
    large = groups_of_sizes(12, 4)[0]
    epochs = [{int(c) for c in drawn(sampler, epoch) % 16 if c in large} for epoch in range(6)]
    assert [len(epoch) for epoch in epochs] == [4] * 6
    assert epochs[0] | epochs[1] | epochs[2] == epochs[3] | epochs[4] | epochs[5] == set(large.tolist())
    assert epochs[:3] != epochs[3:]


def test_a_longer_epoch_begins_with_the_shorter_one():
    groups = groups_of_sizes(11, 3, 5)
    longer = balanced_epoch(groups, 40, seed=2, epoch=1, share=11)
    np.testing.assert_array_equal(balanced_epoch(groups, 33, seed=2, epoch=1, share=11), longer[:33])
    sampler = sampler_of(11, 3, 5, seed=2)
    sampler.fill_up_to = 8
    assert len(sampler) == 40
    np.testing.assert_array_equal(drawn(sampler, 1), longer)


def test_an_epoch_is_fixed_when_iteration_begins():
    sampler = sampler_of(11, 3)
    iterator = iter(sampler)
    expected = drawn(sampler, 0)
    sampler.set_epoch(1)
    np.testing.assert_array_equal(list(iterator), expected)


def test_groups_are_the_combinations_that_occur():
    dataset = captures([1, 1, 0, 0, 0], ["a", "b", "a", "a", "a"])
    groups = capture_groups(dataset, ["label", "source"])
    assert {name: part.tolist() for name, part in groups.items()} == {
        ("live", "a"): [0],
        ("live", "b"): [1],
        ("spoof", "a"): [2, 3, 4],
    }
    shuffled = capture_groups(dataset.select([4, 0, 1]), ["label"])
    assert {name: part.tolist() for name, part in shuffled.items()} == {("live",): [1, 2], ("spoof",): [0]}


def test_captures_without_a_value_are_a_group_unless_all_are():
    dataset = captures([1, 0, 0], subject=["ann", None, None])
    assert list(capture_groups(dataset, ["subject"])) == [("(none)",), ("ann",)]
    with pytest.raises(InputError, match="device is empty in every capture"):
        capture_groups(dataset, ["device"])
    with pytest.raises(InputError, match="no column source but label"):
        capture_groups(dataset.select_columns(["label"]), ["label", "source"])


@pytest.mark.parametrize("text", ["label+source", "label,source", " label + source ", ["label", "source"]])
def test_columns_may_be_joined_in_several_ways(text):
    assert BalancedSampling.parse(text, "min") == BalancedSampling(("label", "source"), "min")


@pytest.mark.parametrize(
    ("balance", "length", "message"),
    [
        ("sorce", "max", "unknown column 'sorce'; did you mean source"),
        ("label+none", "max", "unknown column 'none'"),
        ("", "max", "unknown column ''; expected none, label"),
        ("label", "maximum", "'maximum'; expected max, min or a number"),
        ("label", "0", "expected max, min or a number"),
        ("label", "-3", "expected max, min or a number"),
    ],
)
def test_names_and_lengths_that_are_not_known_are_refused(balance, length, message):
    with pytest.raises(InputError, match=message):
        BalancedSampling.parse(balance, length)


def test_repeated_captures_get_different_views_and_unrepeated_ones_those_of_always():
    dataset = captures([1] + [0] * 5)
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES, seed=3)
    ids = drawn(BalancedSampling(("label",)).sampler(dataset))
    of_live = [views[number] for number in ids if number % 6 == 0]
    assert len(of_live) == 5 and {item["labels"] for item in of_live} == {0}
    assert all(np.all(item["pixel_values"][..., 0] == 0) for item in of_live), "all are of capture 0"
    assert len({item["pixel_values"].tobytes() for item in of_live}) == 5
    assert len(views) == 6 and len(list(views)) == 6


def test_an_id_below_the_number_of_captures_seeds_its_views_as_ever():
    from patchnet_hf.data.views import decode_capture, random_patch

    dataset = captures([1, 0, 0])
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES, seed=3)
    views.set_epoch(7)
    for number in (2, 5):
        random = np.random.default_rng((3, 7, number))
        face = decode_capture(image(2))
        expected = [random_patch(face, 16, random) for _ in range(2)]
        np.testing.assert_array_equal(views[number]["pixel_values"], expected)


def numbers(rows) -> list[int]:
    """Which captures these are."""
    return [Image.open(io.BytesIO(row["image"]["bytes"])).getpixel((0, 0))[0] for row in rows]


def test_a_stream_takes_groups_of_a_column_in_turn():
    dataset = captures([1, 0, 0, 0, 0, 1, 0])
    longest = list(balance_stream(dataset.to_iterable_dataset(), "label"))
    labels = [row["label"] for row in longest]
    assert all(len(set(labels[start : start + 2])) == 2 for start in range(0, len(labels) - 1, 2))
    counts = Counter(numbers(longest))
    assert set(counts) == set(range(7)) and {counts[n] for n in (1, 2, 3, 4, 6)} == {1}
    shortest = numbers(balance_stream(dataset.to_iterable_dataset(), ["label"], "min"))
    assert len(shortest) == len(set(shortest)) and {0, 5} <= set(shortest) and len(shortest) in (3, 4, 5)


def test_a_stream_is_balanced_over_combinations_with_a_value_missing():
    dataset = captures([1, 0, 0, 0, 0, 0], subject=["ann", "ann", None, None, None, "bob"])
    rows = list(balance_stream(dataset.to_iterable_dataset(), "label+subject"))
    counts = Counter((row["label"], row["subject"]) for row in rows)
    assert set(counts) == {(1, "ann"), (0, "ann"), (0, None), (0, "bob")}
    assert max(counts.values()) - min(counts.values()) <= 1 and max(counts.values()) == 3


def test_streams_of_sources_are_united_by_the_names_of_their_patch_types():
    first = captures([1, 0, 0, 0], ["a"] * 4).to_iterable_dataset()
    second = captures([0, 1], ["b"] * 2, first=10, patch_types=["phone/print", "phone/live"]).to_iterable_dataset()
    stream = balance_stream({"a": first, "b": second})
    names = stream.features["patch_type"].names
    rows = list(stream)
    assert all(names[row["patch_type"]] == PATCH_TYPES[1 - row["label"]] for row in rows)
    counts = Counter(row["source"] for row in rows)
    assert set(counts) == {"a", "b"} and abs(counts["a"] - counts["b"]) <= 1 and counts["a"] == 4


def test_a_shuffled_stream_draws_other_captures_of_a_large_group_in_each_pass():
    stream = captures([1] + [0] * 30).to_iterable_dataset().shuffle(seed=1, buffer_size=40)
    balanced = balance_stream(stream, "label", "min")
    passes = []
    for epoch in range(4):
        balanced.set_epoch(epoch)
        passes.append(tuple(numbers(balanced)))
    assert len(set(passes)) == 4
    balanced.set_epoch(2)
    assert tuple(numbers(balanced)) == passes[2]


@pytest.mark.parametrize(
    ("columns", "length", "message"),
    [
        ("", "max", "no columns to split the stream by"),
        ("sauce", "max", "did you mean source"),
        ("label", "100", "length of a stream is '100'"),
    ],
)
def test_streams_that_cannot_be_balanced_are_refused(columns, length, message):
    with pytest.raises(InputError, match=message):
        balance_stream(captures([1, 0]).to_iterable_dataset(), columns, length)


def test_columns_do_not_split_several_streams():
    streams = [captures([1, 0]).to_iterable_dataset()] * 2
    with pytest.raises(InputError, match="several streams are groups themselves"):
        balance_stream(streams, "label")


def training_stream(dataset, shards=1, **options) -> TrainingStream:
    stream = dataset.to_iterable_dataset(num_shards=shards)
    return TrainingStream(stream, PatchNetImageProcessor(patch_size=16), PATCH_TYPES, **options)


def first_items(stream, count) -> list[dict]:
    return [item for item, _ in zip(stream, range(count), strict=False)]


def test_a_training_stream_goes_on_with_new_views_pass_after_pass():
    dataset = captures([1, 0, 0])
    items = first_items(training_stream(dataset, seed=3), 6)
    assert [item["pixel_values"][0, 0, 0, 0] for item in items] == [0, 1, 2] * 2
    assert [item["labels"] for item in items] == [0, 1, 1] * 2
    views = TrainingViews(dataset, PatchNetImageProcessor(patch_size=16), PATCH_TYPES, seed=3)
    for number, item in enumerate(items):
        views.set_epoch(number // 3)
        np.testing.assert_array_equal(item["pixel_values"], views[number % 3]["pixel_values"])
    later = training_stream(dataset, seed=3)
    later.set_epoch(1)
    for item, expected in zip(first_items(later, 3), items[3:], strict=True):
        np.testing.assert_array_equal(item["pixel_values"], expected["pixel_values"])


def test_a_stream_that_was_filtered_gives_the_same_views():
    dataset = captures([1, 0, 0, 1])
    stream = dataset.to_iterable_dataset().filter(lambda row: row["label"] == 0)
    items = first_items(TrainingStream(stream, PatchNetImageProcessor(patch_size=16), PATCH_TYPES), 2)
    for item, expected in zip(items, training_stream(dataset.select([1, 2])), strict=False):
        np.testing.assert_array_equal(item["pixel_values"], expected["pixel_values"])


def test_workers_share_the_shards_of_a_training_stream():
    stream = training_stream(captures([1] * 4 + [0] * 4), shards=4)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2)
    items = first_items(loader, 8)
    assert sorted(int(item["pixel_values"][0, 0, 0, 0]) for item in items) == list(range(8))


def test_a_training_stream_names_a_patch_type_that_the_model_lacks_and_an_empty_stream():
    stream = captures([1, 0]).to_iterable_dataset()
    with pytest.raises(InputError, match="'phone/print' that the model doesn't know"):
        first_items(TrainingStream(stream, PatchNetImageProcessor(patch_size=16), ["phone/live"]), 2)
    empty = stream.filter(lambda row: False)
    with pytest.raises(InputError, match="stream is empty"):
        first_items(TrainingStream(empty, PatchNetImageProcessor(patch_size=16), PATCH_TYPES), 1)
    with pytest.raises(InputError, match="training stream: not a dataset of captures"):
        TrainingStream(stream.select_columns(["image", "label"]), PatchNetImageProcessor(), PATCH_TYPES)
