"""Divisions in which groups stay whole and shares are met."""

from collections import Counter

import numpy as np
import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.preparation.splitting import SplitShares, split_captures

THREE = "train=0.7,val=0.15,test=0.15"


def persons(count: int, random: np.random.Generator) -> tuple[list[str], list[str]]:
    """Keys and attack types of captures: persons with 1 to 12 images of some kinds."""
    keys, kinds = [], []
    for person in range(count):
        shows = random.choice(["bonafide", "print", "replay"], size=random.integers(1, 4), replace=False)
        for kind in shows:
            images = int(random.integers(1, 5))
            keys += [f"person {person}"] * images
            kinds += [str(kind)] * images
    return keys, kinds


def divide(keys, kinds, plan) -> list[str]:
    return split_captures(keys, kinds, [kind == "bonafide" for kind in kinds], plan)


@pytest.mark.parametrize("seed", range(60))
def test_no_group_is_in_two_splits(seed):
    random = np.random.default_rng(seed)
    keys, kinds = persons(int(random.integers(3, 40)), random)
    order = random.permutation(len(keys))
    keys, kinds = [keys[index] for index in order], [kinds[index] for index in order]
    splits = divide(keys, kinds, SplitShares.parse(THREE, seed=seed))
    of_key: dict[str, set] = {}
    for key, split in zip(keys, splits, strict=True):
        of_key.setdefault(key, set()).add(split)
    assert all(len(of_this) == 1 for of_this in of_key.values())
    assert set(splits) == {"train", "val", "test"}
    assert len(splits) == len(keys)


@pytest.mark.parametrize("seed", range(10))
def test_shares_are_met_for_persons_and_for_each_kind(seed):
    random = np.random.default_rng(100 + seed)
    keys, kinds = persons(120, random)
    splits = divide(keys, kinds, SplitShares.parse(THREE, seed=seed))
    for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        members = {key for key, chosen in zip(keys, splits, strict=True) if chosen == split}
        assert abs(len(members) / 120 - share) < 0.04
        for kind in ("bonafide", "print", "replay"):
            chosen = sum(k == kind and s == split for k, s in zip(kinds, splits, strict=True))
            assert abs(chosen / kinds.count(kind) - share) < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_each_split_has_bona_fides_and_attacks_where_there_are_groups_for_it(seed):
    """Three persons are live and three only attacked: with two splits each must get some of both."""
    keys = [f"live {n}" for n in range(3)] + [f"attack {n}" for n in range(3)]
    kinds = ["bonafide"] * 3 + ["print"] * 3
    splits = divide(keys, kinds, SplitShares.parse("train=0.8,test=0.2", seed=seed))
    held = {(split, kind) for split, kind in zip(splits, kinds, strict=True)}
    assert held == {(split, kind) for split in ("train", "test") for kind in ("bonafide", "print")}


def test_a_seed_gives_the_same_division_and_another_one_another():
    keys, kinds = persons(40, np.random.default_rng(0))
    divisions = [tuple(divide(keys, kinds, SplitShares.parse(THREE, seed=seed))) for seed in (0, 0, 1, 2, 3)]
    assert divisions[0] == divisions[1]
    assert len(set(divisions)) > 2


def test_every_person_gets_to_every_split_for_some_seed():
    keys, kinds = persons(40, np.random.default_rng(5))
    seen: dict[str, Counter] = {key: Counter() for key in keys}
    for seed in range(80):
        for key, split in zip(keys, divide(keys, kinds, SplitShares.parse(THREE, seed=seed)), strict=True):
            seen[key][split] += 1
    assert all(set(splits) == {"train", "val", "test"} for splits in seen.values())


def test_too_few_groups_are_an_error():
    with pytest.raises(InputError, match="2 subjects can't be divided into 3 parts by subject"):
        divide(["a", "a", "b"], ["bonafide", "print", "print"], SplitShares.parse(THREE))


@pytest.mark.parametrize(
    "text, message",
    [
        ("train=0.7,val=0.2", "the shares are 0.9 together; expected 1"),
        ("train=0.7,dev=0.3", "'dev=0.3' isn't SPLIT=SHARE with SPLIT one of train, val, test"),
        ("train=0.5,train=0.5", "train is given twice"),
        ("train=1.5,val=-0.5", "expected more than 0 and at most 1"),
        ("train=most,val=0.3", "the share of train is 'most'; expected a number"),
        ("train=nan,val=0.3", "expected more than 0"),
        ("train", "'train' isn't SPLIT=SHARE"),
    ],
)
def test_mistakes_in_shares(text, message):
    with pytest.raises(InputError) as error:
        SplitShares.parse(text)
    assert message in str(error.value)
