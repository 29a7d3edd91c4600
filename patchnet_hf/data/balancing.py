"""Balanced sampling: every group of captures drawn equally often in an epoch, of datasets and of streams."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import torch

from ..errors import InputError, did_you_mean
from .schema import check_schema
from .uniting import undecoded, unite_streams, unread

NONE = "none"
COLUMNS = ("label", "patch_type", "attack_type", "source", "device", "subject", "session", "video")
"""What captures can be grouped by."""

LENGTHS = ("max", "min")

UNKNOWN = "(none)"
"""The group of captures whose column is null."""


@dataclass(frozen=True)
class BalancedSampling:
    """
    Which groups of captures are drawn equally often, and how many captures an epoch has.

    Args:
        columns: a capture's group is the combination of its values in these columns; only combinations that occur
            are groups. A null counts as a value of its own, so captures without one make up a group together.
        length: `"max"`: the largest group is drawn once, all others are oversampled to its size. `"min"`: as many of
            each group as the smallest has. Or a number: captures in an epoch, shared out evenly.

    Raises:
        InputError: a column or length isn't known.

    >>> BalancedSampling.parse("label+source")
    BalancedSampling(columns=('label', 'source'), length='max')
    >>> BalancedSampling.parse("attack_type", "1000").length
    1000
    >>> BalancedSampling.parse("none") is None
    True
    """

    columns: tuple[str, ...]
    length: int | str = "max"

    def __post_init__(self):
        for name in self.columns:
            if name not in COLUMNS:
                known = (NONE, *COLUMNS)
                hint = did_you_mean(name, known) or f"; expected {', '.join(known)}, or several joined by +"
                raise InputError(f"balance: unknown column {name!r}{hint}")
        if not self.columns:
            raise InputError(f"balance: no column; expected one or more of {', '.join(COLUMNS)}")
        if self.length not in LENGTHS and (not isinstance(self.length, int) or self.length < 1):
            raise InputError(
                f"balance_length is {self.length!r}; expected max, min or a number of captures"
                f"{did_you_mean(str(self.length), LENGTHS)}"
            )

    @classmethod
    def parse(cls, balance: str | Sequence[str], length: str | int = "max") -> "BalancedSampling | None":
        """
        What the options `balance` and `balance_length` say; `None` for `"none"`.

        Args:
            balance: `"none"`, or columns joined by `+` or `,`, or a list of them.
            length: `"max"`, `"min"`, or a number, also as text.

        Raises:
            InputError: a column or length isn't known.
        """
        joined = balance if isinstance(balance, str) else "+".join(balance)
        columns = tuple(dict.fromkeys(name.strip() for name in joined.replace(",", "+").split("+")))
        if columns == (NONE,):
            if length != "max":
                raise InputError(f"balance_length is {length!r}, but balance is none; give columns to balance by")
            return None
        return cls(columns, int(length) if str(length).isdecimal() else length)

    def sampler(self, dataset: datasets.Dataset, seed: int = 0) -> "BalancedSampler":
        """A sampler that draws the captures of `dataset` by these settings."""
        return BalancedSampler(capture_groups(dataset, self.columns), self.length, seed)


def capture_groups(dataset: datasets.Dataset, columns: Sequence[str]) -> dict[tuple[str, ...], np.ndarray]:
    """
    The positions of the captures of each combination of values that occurs in `columns`.

    Returns:
        By the values' names, sorted: `(n,)` int64, ascending. A null's name is `"(none)"`.

    Raises:
        InputError: there are no captures, or one of the columns is missing or null in every capture.
    """
    _check_columns(dataset.features, columns)
    # Only the narrow columns are read, never the images.
    table = dataset.select_columns(list(columns)).with_format("arrow")[:]
    named = [_names(dataset.features[column], table[column].to_pylist()) for column in columns]
    for column, names in zip(columns, named, strict=True):
        if all(name == UNKNOWN for name in names):
            raise InputError(f"balance: column {column} is empty in every capture")
    positions: dict[tuple[str, ...], list[int]] = {}
    for position, group in enumerate(zip(*named, strict=True)):
        positions.setdefault(group, []).append(position)
    return {group: np.array(positions[group]) for group in sorted(positions)}


def epoch_length(sizes: Sequence[int], length: int | str) -> int:
    """
    Captures in an epoch over groups of these sizes, by [`BalancedSampling`]'s `length`.

    >>> epoch_length([5, 20, 10], "max"), epoch_length([5, 20, 10], "min"), epoch_length([5, 20, 10], 50)
    (60, 15, 50)
    """
    if length == "max":
        return max(sizes) * len(sizes)
    if length == "min":
        return min(sizes) * len(sizes)
    return int(length)


def balanced_epoch(
    groups: Sequence[np.ndarray], length: int, seed: int, epoch: int, share: int | None = None
) -> np.ndarray:
    """
    The captures of an epoch in the order in which they are drawn: blocks that hold each group once, in random order.

    So any first n of them hold each group equally often to within one, and a longer epoch starts with the shorter
    one. Within a group all captures are drawn in random order before any is drawn again. A capture has an id for each
    time it is drawn, for different views of it: `capture + times drawn before * captures`.

    Args:
        groups: positions of the captures of each group, which together are `0 ... captures - 1`.
        length: captures to draw.
        seed: together with `epoch` determines everything.
        epoch: from 0.
        share: how many of each group are regarded as an epoch's; of a group with more captures, successive epochs draw
            those that weren't drawn for longest. By default its part of `length`, rounded up.

    Returns:
        `(length,)` int64 ids.

    >>> ids = balanced_epoch([np.array([0, 1, 2, 3]), np.array([4, 5])], length=8, seed=0, epoch=0)
    >>> sorted(ids.tolist())  # 10 and 11 are the second draws of captures 4 and 5
    [0, 1, 2, 3, 4, 5, 10, 11]
    """
    captures = sum(len(members) for members in groups)
    blocks = -(-length // len(groups))
    share = blocks if share is None else share
    draws = [_draws(members, blocks, share, captures, seed, epoch, number) for number, members in enumerate(groups)]
    # Not the order of one shuffle of all: a batch of that would now and then lack a group.
    order = _random(seed, epoch).random((blocks, len(groups))).argsort(axis=1)
    return np.take_along_axis(np.stack(draws, axis=1), order, axis=1).ravel()[:length]


def _draws(members: np.ndarray, count: int, share: int, captures: int, seed: int, epoch: int, number: int):
    """`(count,)` ids of one group: all members in random order, then all in another one, and so on."""
    rounds = -(-count // len(members))
    orders = _random(seed, epoch, number, 1).random((rounds, len(members))).argsort(axis=1)
    if share < len(members):
        # A window moves on over one order of all, until it has come round to where it began; then over another one.
        cycle, turn = divmod(epoch, len(members) // math.gcd(len(members), share))
        window = np.roll(_random(seed, cycle, number, 0).permutation(len(members)), -turn * share)
        own = np.isin(orders[0], window[:share])
        orders[0] = np.concatenate([orders[0][own], window[share:]])
    times = np.arange(len(orders))[:, None]
    return (members[orders] + times * captures).ravel()[:count]


def _random(seed: int, *purpose: int) -> np.random.Generator:
    # A spawn key, because numpy takes (1, 2) and (1, 2, 0) for the same seed.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))


class BalancedSampler(torch.utils.data.Sampler[int]):
    """
    Draws from every group of captures equally often; which captures and in what order depends on seed and epoch alone.

    The sequence is the joint one of all processes, the same on each: accelerate deals its batches out in turn
    (`BatchSamplerShard`), so that no two processes draw the same id. What accelerate does at an epoch's end under
    several processes: when the epoch doesn't divide by the joint batch of all processes, it completes the last batches
    with the *first ids of the same epoch*, drawn twice then and of whatever groups they are. That never happens where
    `fill_up_to` is the joint batch, as [`PatchNetTrainer`] sets it: the balanced sequence then goes on by itself to
    the next whole batch, up to one joint batch longer, with captures that were drawn least and new ids. With
    `dataloader_drop_last` the captures that fill no joint batch are left out instead. Both ways the groups differ by
    at most one. A single process ends with a smaller batch.

    Args:
        groups: `(n,)` positions of the captures of each group, by its name; together `0 ... captures - 1`.
        length: as for [`BalancedSampling`].
        seed: of the order.

    Attributes:
        nominal_length: captures in an epoch before filling up.
        fill_up_to: the length is rounded up to a multiple of it.

    Items: ids by [`balanced_epoch`], which [`TrainingViews`] understands. `set_epoch` chooses the epoch.
    """

    def __init__(self, groups: Mapping[tuple[str, ...], np.ndarray], length: int | str = "max", seed: int = 0):
        if not groups:
            raise InputError("balance: there are no captures")
        self.groups = dict(groups)
        self.nominal_length = epoch_length([len(members) for members in self.groups.values()], length)
        self.seed = seed
        self.epoch = 0
        self.fill_up_to = 1

    def set_epoch(self, epoch: int):
        """What is drawn when the sampler is next iterated over."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.nominal_length // self.fill_up_to) * self.fill_up_to

    def __iter__(self) -> Iterator[int]:
        share = -(-self.nominal_length // len(self.groups))
        ids = balanced_epoch(list(self.groups.values()), len(self), self.seed, self.epoch, share)
        return iter(ids.tolist())


def balance_stream(
    streams: datasets.IterableDataset | Sequence[datasets.IterableDataset] | Mapping[str, datasets.IterableDataset],
    columns: str | Sequence[str] = (),
    length: str = "max",
) -> datasets.IterableDataset:
    """
    A stream that takes a capture from each group in turn.

    Shuffle streams *before* they are balanced (`stream.shuffle(seed=0, buffer_size=1000)`): the turns stay strict
    then, and with `length="min"` every pass takes other captures of large groups. The workers of a `DataLoader`
    balance the shards that each was given, which therefore should hold all groups.

    Args:
        streams: streams by the data contract, each of which is a group (one for each source, say); patch types are
            united by name. Or one stream that `columns` split: it is then read once to find the groups, and in
            training as often as there are groups.
        columns: of [`BalancedSampling`], for one stream alone.
        length: of a pass. `"max"`: until every group has been read to its end, the others starting anew meanwhile.
            `"min"`: until the first group has.

    Returns:
        The interleaved stream, whose groups are equally frequent to within one in any part of a pass. Its images are
        left as encoded bytes, as [`TrainingStream`] reads them.

    Raises:
        InputError: columns or length don't fit, or a stream doesn't follow the data contract.
    """
    if length not in LENGTHS:
        hint = did_you_mean(str(length), LENGTHS)
        raise InputError(
            f"balance_length of a stream is {length!r}; expected max or min{hint}; max_steps ends training"
        )
    balance = BalancedSampling.parse(columns) if columns else None
    if isinstance(streams, datasets.IterableDataset):
        if balance is None:
            raise InputError("balance: no columns to split the stream by; give columns, or one stream for each group")
        groups = _split_stream(streams, balance.columns)
    else:
        if balance is not None:
            raise InputError("balance: several streams are groups themselves; columns split only a single stream")
        groups = unite_streams(list(streams.values() if isinstance(streams, Mapping) else streams))
    strategy = {"max": "all_exhausted", "min": "first_exhausted"}[length]
    return datasets.interleave_datasets(groups, stopping_strategy=strategy)


def _split_stream(stream: datasets.IterableDataset, columns: Sequence[str]) -> list[datasets.IterableDataset]:
    check_schema(stream, "stream")
    _check_columns(stream.features, columns)
    found = {tuple(row[column] for column in columns) for row in unread(stream).select_columns(list(columns))}
    if not found:
        raise InputError("balance: there are no captures")
    stream = undecoded(stream)
    # Null has no order among names and numbers.
    ordered = sorted(found, key=lambda values: [(value is None, 0 if value is None else value) for value in values])
    return [
        stream.filter(_is_of_group, input_columns=list(columns), fn_kwargs={"group": values}) for values in ordered
    ]


def _is_of_group(*values, group: tuple) -> bool:
    return values == group


def _check_columns(features: datasets.Features, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in features]
    if missing:
        raise InputError(f"balance: the captures have no column {', '.join(missing)} but {', '.join(features)}")


def _names(feature, values: Sequence) -> list[str]:
    """What people call the values of a column."""
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    return [UNKNOWN if value is None else names[value] if names else str(value) for value in values]
