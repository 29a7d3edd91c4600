"""A division into training, validation and test captures in which no person (session, video) is in two parts."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..text_table import counted
from .descriptions import SPLITS

GROUPINGS = ("subject", "session", "video", "image")
DEFAULT_GROUPING = "subject"
# Divisions that are tried, of which the best is taken: the fewer, the more groups there are to deal. Many groups come
# near to their shares anyway.
_TRIES, _DEALS = 20, 200_000
# What a split without bona fides or without attacks costs: more than any uneven shares.
_MISSING_CLASS = 1000.0


@dataclass(frozen=True)
class SplitShares:
    """
    How captures are divided.

    Attributes:
        shares: split to its share, in the order of `SPLITS`; together 1.
        group_by: the column whose values stay together; `"image"`: none.
        seed: other seeds give other divisions.
    """

    shares: Mapping[str, float]
    group_by: str = DEFAULT_GROUPING
    seed: int = 0

    @classmethod
    def parse(cls, text: str, group_by: str = DEFAULT_GROUPING, seed: int = 0) -> "SplitShares":
        """
        From `train=0.7,val=0.15,test=0.15`.

        Raises:
            InputError: a split has another name, a share isn't between 0 and 1, or they aren't 1 together.

        >>> SplitShares.parse("test=0.2,train=0.8").shares
        {'train': 0.8, 'test': 0.2}
        """
        where = f"--split {text}"
        shares: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = part.partition("=")
            name = name.strip()
            if not equals or name not in SPLITS:
                raise InputError(f"{where}: {part.strip()!r} isn't SPLIT=SHARE with SPLIT one of {', '.join(SPLITS)}")
            if name in shares:
                raise InputError(f"{where}: {name} is given twice")
            try:
                shares[name] = float(number)
            except ValueError:
                raise InputError(f"{where}: the share of {name} is {number!r}; expected a number") from None
            if not 0 < shares[name] <= 1:
                raise InputError(f"{where}: the share of {name} is {number}; expected more than 0 and at most 1")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise InputError(f"{where}: the shares are {sum(shares.values()):g} together; expected 1")
        return cls({name: shares[name] for name in SPLITS if name in shares}, group_by, seed)


@dataclass
class Group:
    """
    Captures that stay together.

    Attributes:
        members: positions of its captures.
        kinds: attack type (`"bonafide"` of bona fides) to number of captures.
    """

    members: list[int] = field(default_factory=list)
    kinds: Counter = field(default_factory=Counter)


def split_captures(
    keys: Sequence[Hashable], kinds: Sequence[str], live: Sequence[bool], plan: SplitShares
) -> list[str]:
    """
    The split of each capture.

    Whole groups are dealt out at random so that each split has its share of the groups and of the captures of each
    kind, as near as groups of several captures allow, and bona fides and attacks where there are groups for that.

    Args:
        keys: what stays together: captures with equal keys.
        kinds: attack type of each capture.
        live: whether each capture is bona fide.
        plan: shares and seed.

    Raises:
        InputError: there are fewer groups than splits.
    """
    groups: dict[Hashable, Group] = defaultdict(Group)
    for position, (key, kind) in enumerate(zip(keys, kinds, strict=True)):
        groups[key].members.append(position)
        groups[key].kinds[kind] += 1
    splits = list(plan.shares)
    if len(groups) < len(splits):
        what = counted(len(groups), plan.group_by)
        raise InputError(f"--split: {what} can't be divided into {len(splits)} parts by {plan.group_by}")

    names = sorted(set(kinds))
    of_live = dict(zip(kinds, live, strict=True))
    # The last column counts groups, so that splits have their share of persons, not of images alone.
    counts = np.array([[group.kinds[name] for name in names] + [1] for group in groups.values()], dtype=float)
    classes = np.array([[of_live[name] for name in names], [not of_live[name] for name in names]], dtype=float)
    shares = np.array([plan.shares[split] for split in splits])
    random = np.random.default_rng(plan.seed)
    count = min(_TRIES, max(_DEALS // len(groups), 1))
    tries = [_dealt(counts, shares, random) for _ in range(count)]
    best = min(tries, key=lambda chosen: _cost(chosen, counts, shares, classes))
    result = [""] * len(keys)
    for group, split in zip(groups.values(), best, strict=True):
        for position in group.members:
            result[position] = splits[split]
    return result


def _dealt(counts: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """
    Deals groups in random order, each to the split that lacks most of what the group has.

    Args:
        counts: `(G, K)`, captures of each kind in each group.
        shares: `(S,)`.

    Returns:
        `(G,)`, the split of each group; none is empty where G >= S.
    """
    totals = counts.sum(axis=0)
    weights = counts / totals
    lacking = np.repeat(shares[:, None], counts.shape[1], axis=1)
    chosen = np.empty(len(counts), dtype=int)
    filled = np.zeros(len(shares), dtype=bool)
    for place, group in enumerate(random.permutation(len(counts))):
        # By how much the sum of squares of what splits lack becomes smaller when the group goes into each of them.
        gain = (weights[group] * (2 * lacking - weights[group])).sum(axis=1)
        if len(counts) - place <= (~filled).sum():
            gain[filled] = -np.inf
        split = chosen[group] = int(gain.argmax())
        filled[split] = True
        lacking[split] -= weights[group]
    return chosen


def _cost(chosen: np.ndarray, counts: np.ndarray, shares: np.ndarray, classes: np.ndarray) -> float:
    """How far a division is from its shares; splits that lack bona fides or attacks come last."""
    held = np.array([counts[chosen == split].sum(axis=0) for split in range(len(shares))])
    cost = ((held / counts.sum(axis=0) - shares[:, None]) ** 2).sum()
    present = held[:, :-1] @ classes.T > 0
    possible = classes @ counts[:, :-1].sum(axis=0) > 0
    return float(cost + _MISSING_CLASS * (possible & ~present).sum())
