"""The folds of a protocol: for each, which captures are trained on, choose the threshold, and are tested."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.filters import CaptureColumns, CaptureFilter
from ..data.schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, LABELS, LIVE
from ..errors import InputError, did_you_mean
from .pool import Pool
from .protocol import LEFT_OUT, PARTS, HoldOut, Protocol

SHOWN = 5


@dataclass(frozen=True)
class Fold:
    """
    One training and its test.

    Attributes:
        name: of the fold, or the value that is left out.
        filters: for each of `PARTS` the filter that chooses its captures, as plain data for YAML.
        rows: for each of `PARTS` the captures it chooses, bool of shape `(N,)`.
        notes: what takes no part, in words.
    """

    name: str
    filters: Mapping[str, Mapping | list]
    rows: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name as a folder.

        >>> Fold("phone 1 / session 2", {}, {}).folder
        'phone_1_session_2'
        """
        return re.sub(r"[^\w.-]+", "_", self.name).strip("._") or "fold"


def make_folds(protocol: Protocol, columns: CaptureColumns) -> list[Fold]:
    """
    The folds of a protocol over captures with these columns.

    Raises:
        InputError: a filter names what no capture has, there is nothing to leave out or to divide, or two folds would
            share a folder.
    """
    if protocol.folds:
        folds = []
        for fold in protocol.folds:
            rows = {part: fold.filters[part].mask(columns, f"fold {fold.name}: {part}") for part in PARTS}
            folds.append(Fold(fold.name, fold.given, rows))
    else:
        folds = folds_leaving_one_out(protocol.leave_one_out, protocol.targets, protocol.hold_out, columns)
    folders = Counter(fold.folder.lower() for fold in folds)
    for fold in folds:
        if folders[fold.folder.lower()] > 1:
            raise InputError(f"two folds would be written to the folder {fold.folder}; give them other names")
    return folds


def folds_leaving_one_out(
    column: str, targets: Sequence[str] | None, hold_out: HoldOut, columns: CaptureColumns
) -> list[Fold]:
    """
    A fold for each target value of `column`: it is never trained on, and it is what is tested.

    The captures that may be trained on are those with another value; of attack types also all bona fides. The
    captures that may be tested are those with the target's value; of attack types, whose value only attacks have, also
    all bona fides. A person with captures of both kinds is held out: on one side or the other, never both. Such
    persons are divided by `hold_out`, in all folds alike. Whoever can't be tested is trained on or in the development
    set, and whoever can't be trained on is tested.

    Args:
        column: of `LEFT_OUT`.
        targets: values to leave out; `None` for all.
        hold_out: how persons are divided.
        columns: of the captures.

    Raises:
        InputError: there are fewer than two values, an unknown target, or captures that belong to nobody.
    """
    values, sources, groups = (columns.texts(name) for name in (column, "source", hold_out.by))
    known, without = known_values(column, columns)
    if len(known) < 2:
        there = f"only {known[0]!r}" if known else "none"
        raise InputError(
            f"leave_one_out: {column}: the captures have {there}; to leave one out, it takes two {LEFT_OUT[column]}s"
        )
    for target in targets or ():
        if target not in known:
            hint = did_you_mean(target, known)
            raise InputError(f"targets: no capture has {column} {target!r}{hint}; there are {', '.join(known)}")
    keys = list(zip(sources, groups, strict=True))
    roles = divided(columns, hold_out)
    notes = (f"{without} captures whose {LEFT_OUT[column]} isn't known take no part",) if without else ()
    bona_fides = [BONA_FIDE] if column == "attack_type" else []
    folds = []
    for target in known if targets is None else targets:
        others = [*bona_fides, *(value for value in known if value != target)]
        trainable, testable = np.isin(values, others), np.isin(values, [*bona_fides, target])
        nobody = int(np.sum(trainable & np.equal(groups, None)))
        if nobody:
            raise InputError(
                f"{nobody} captures have no {hold_out.by}, so that nobody can say what is held out with them; "
                "hold_out: by: names another column (subject, session or video), or folds name the parts"
            )
        final = roles_in_fold(keys, trainable, testable, roles)
        filters, rows = {}, {}
        for part in PARTS:
            condition = {column: [*bona_fides, target] if part == "test" else others}
            eligible = testable if part == "test" else trainable
            rows[part] = eligible & np.fromiter((final.get(key) == part for key in keys), bool, len(keys))
            filters[part] = written_out(condition, eligible, rows[part], sources, groups, hold_out.by)
            if rows[part].any():
                again = CaptureFilter.parse(filters[part]).mask(columns)
                assert np.array_equal(again, rows[part]), f"the filter of {part} doesn't choose its captures"
        folds.append(Fold(target, filters, rows, notes))
    return folds


def known_values(column: str, columns: CaptureColumns) -> tuple[list[str], int]:
    """
    The values of `column` that can be left out, and how many captures have none: they could be of any, also of the
    one that is left out, and so take no part. `"attack"` among other types stands for an unknown one.
    """
    among = np.ones(len(columns), dtype=bool)
    unknown: list[str | None] = [None]
    if column == "attack_type":
        among = columns.texts("label") != LABELS[LIVE]
        if columns.present(column, among) != [DEFAULT_ATTACK_TYPE]:
            unknown.append(DEFAULT_ATTACK_TYPE)
    known = [value for value in columns.present(column, among) if value not in unknown]
    return known, int(np.sum(among & np.isin(columns.texts(column), unknown)))


def roles_in_fold(
    keys: Sequence[tuple], trainable: np.ndarray, testable: np.ndarray, roles: Mapping[tuple, str]
) -> dict[tuple, str]:
    """The part of each person in a fold: as in `roles`, unless there's nothing to test, or nothing but that."""
    can_train = {key for key, yes in zip(keys, trainable, strict=True) if yes}
    can_test = {key for key, yes in zip(keys, testable, strict=True) if yes}
    final = {key: roles[key] for key in can_train}
    final |= {key: "train" for key in can_train - can_test if roles[key] == "test"}
    return final | dict.fromkeys(can_test - can_train, "test")


def divided(columns: CaptureColumns, hold_out: HoldOut) -> dict[tuple, str]:
    """
    The part of each person (or other group): `(source, value of hold_out.by)` to one of `PARTS`.

    Persons who show the same (devices, attack types, labels) are divided in the same proportion, as far as their
    number allows: the test and the development set then show about what the training set does.
    """
    shown: dict[tuple, set] = {}
    texts = [columns.texts(name) for name in ("source", hold_out.by, "device", "attack_type", "label")]
    for source, group, *what in zip(*texts, strict=True):
        shown.setdefault((source, group), set()).add(tuple(str(value) for value in what))
    random = np.random.default_rng(hold_out.seed)
    persons = sorted(shown, key=lambda key: tuple(map(str, key)))
    order = dict(zip(persons, random.permutation(len(persons)), strict=True))
    persons.sort(key=lambda key: (str(key[0]), sorted(shown[key]), order[key]))
    tested = evenly(len(persons), hold_out.test)
    rest = [person for person, test in zip(persons, tested, strict=True) if not test]
    developed = evenly(len(rest), hold_out.development / (1 - hold_out.test))
    roles = dict.fromkeys(persons, "test")
    roles |= {person: "development" if yes else "train" for person, yes in zip(rest, developed, strict=True)}
    return roles


def evenly(count: int, share: float) -> list[bool]:
    """
    `share` of `count` places (rounded), spread evenly over them.

    >>> evenly(10, 0.2)
    [False, False, True, False, False, False, False, True, False, False]
    """
    return [int((place + 1) * share + 0.5) > int(place * share + 0.5) for place in range(count)]


def written_out(
    condition: Mapping[str, list],
    eligible: np.ndarray,
    chosen: np.ndarray,
    sources: np.ndarray,
    groups: np.ndarray,
    by: str,
) -> dict | list[dict]:
    """
    A filter, as plain data, that chooses `chosen` among all captures: those that meet `condition` (`eligible`), of
    whole groups. Groups are named with their source where there are several, and left out where all are chosen.
    """
    several = len(set(sources)) > 1
    alternatives = []
    for source in sorted(set(sources[eligible]), key=str):
        here = eligible & (sources == source)
        of_part = set(groups[chosen & here])
        if not of_part:
            continue
        names = {} if of_part == set(groups[here]) else {by: _sorted(of_part)}
        where = {"source": source} if several and "source" not in condition else {}
        alternatives.append({**(condition if "source" not in condition else {"source": [source]}), **where, **names})
    if chosen.any() and not np.any(eligible & ~chosen):
        return dict(condition)
    return alternatives[0] if len(alternatives) == 1 else alternatives


def check_fold(fold: Fold, pool: Pool, allow_shared_subjects: bool = False) -> None:
    """
    Makes sure that a fold can be trained and that its numbers will mean something.

    Raises:
        InputError: a part has no bona fides or no attacks; a capture, or unless that is allowed a person, is in two
            parts.
    """
    live = pool.columns.texts("label") == LABELS[LIVE]
    for part in PARTS:
        rows = fold.rows[part]
        bona_fides, attacks = int(np.sum(rows & live)), int(np.sum(rows & ~live))
        if not bona_fides or not attacks:
            lacking = " and ".join(
                name for name, count in (("bona fides", bona_fides), ("attacks", attacks)) if not count
            )
            raise InputError(
                f"fold {fold.name}: {part} has no {lacking} ({bona_fides} bona fides, {attacks} attacks); a larger "
                "share or another seed in hold_out, other targets, or folds with parts written out may help"
            )
    persons = {part: persons_of(pool.columns, fold.rows[part]) for part in PARTS}
    for number, first in enumerate(PARTS):
        for second in PARTS[number + 1 :]:
            if twins := pool.twins(fold.rows[first], fold.rows[second]):
                raise InputError(
                    f"fold {fold.name}: {len(twins)} captures are in {first} and in {second}, for example "
                    f"{pool.files[twins[0][0]]}"
                )
            shared = sorted(map(_person, persons[first] & persons[second]))
            if shared and not allow_shared_subjects:
                raise InputError(
                    f"fold {fold.name}: {len(shared)} persons are in {first} and in {second} ({_some(shared)}), who "
                    "would be recognised, not judged; hold_out: by: subject keeps them apart, and "
                    "allow_shared_subjects: true lets them be"
                )


def persons_of(columns: CaptureColumns, rows: np.ndarray) -> set[tuple]:
    """`(source, subject)` of the captures of a mask; those without a subject are nobody's."""
    codes = np.stack([columns.codes[name][rows] for name in ("source", "subject")], axis=1)
    sources, subjects = columns.values["source"], columns.values["subject"]
    found = {(sources[source], subjects[subject]) for source, subject in np.unique(codes, axis=0)}
    return {person for person in found if person[1] is not None}


def counts_of(columns: CaptureColumns, rows: np.ndarray) -> dict:
    """
    What a part holds: `captures`, `bona_fides`, `attacks` (number of each type), `subjects`, and the `devices`.
    """
    live = columns.texts("label") == LABELS[LIVE]
    kinds = Counter(columns.texts("attack_type")[rows & ~live])
    return {
        "captures": int(np.sum(rows)),
        "bona_fides": int(np.sum(rows & live)),
        "attacks": {str(kind): kinds[kind] for kind in sorted(kinds, key=str)},
        "subjects": len(persons_of(columns, rows)),
        "devices": columns.present("device", rows),
    }


def _sorted(values: Iterable) -> list:
    return sorted(values, key=lambda value: (value is None, str(value)))


def _person(person: tuple) -> str:
    return f"{person[1]} of {person[0]}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
