"""A protocol as people write it: a YAML file that names datasets, a recipe, and how captures are divided."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..data.filters import CaptureFilter
from ..errors import InputError, did_you_mean
from ..evaluation.presentations import LEVELS
from ..yaml_files import read_yaml_mapping

PARTS = ("train", "development", "test")
LEFT_OUT = {"source": "dataset", "attack_type": "attack type", "device": "device"}
"""Columns whose values can be left out one after the other, and what a value is called."""

GROUPS = ("subject", "session", "video")
# What a fold decides itself, or a run of several folds can't have.
OF_A_FOLD = (
    *("dataset", "train", "eval", "train_filter", "eval_filter", "output_dir", "overwrite", "resume_from_checkpoint"),
    "push_to_hub",
)
# Of these, what a recipe can't just lose: with a filter of its own it means other captures than the protocol does.
CHOOSES_CAPTURES = ("train_filter", "eval_filter")
KEYS = (
    *("name", "recipe", "datasets", "options", "criterion", "level", "species", "leave_one_out", "targets"),
    *("hold_out", "folds", "allow_shared_subjects"),
)
ONLY_LEFT_OUT = ("targets", "hold_out")


@dataclass(frozen=True)
class HoldOut:
    """
    How the persons (or other groups) that can be divided are divided, at random but always in the same way.

    Attributes:
        by: the column whose values stay together, within each source.
        development: share of them in the development set, in (0, 1).
        test: share of them in the test set, in (0, 1).
        seed: other seeds give other divisions.
    """

    by: str = "subject"
    development: float = 0.2
    test: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class NamedFold:
    """A fold whose parts are written out, each as a filter."""

    name: str
    filters: Mapping[str, CaptureFilter]
    given: Mapping[str, Mapping | list]


@dataclass(frozen=True)
class Protocol:
    """
    How a recipe is trained and tested.

    Attributes:
        name: for titles.
        recipe: YAML file of options of `scripts/train.py`.
        datasets: `DIR` or `DIR:SPLIT`, all taken together.
        options: options of `scripts/train.py` that win over the recipe's.
        criterion: how the threshold is chosen on the development set.
        level: `"image"`, or `"clip"` for the mean score of a `video`'s captures.
        species: name to the attack types that are counted as one PAI species; types not named are their own.
        leave_one_out: column of `LEFT_OUT`, or `None` for `folds`.
        targets: values of that column that are left out; `None` for all.
        hold_out: how persons are divided where one is left out.
        folds: with parts written out.
        allow_shared_subjects: whether a person may be in several parts of a fold.
    """

    name: str
    recipe: str
    datasets: tuple[str, ...]
    options: Mapping = field(default_factory=dict)
    criterion: str = "eer"
    level: str = "image"
    species: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leave_one_out: str | None = None
    targets: tuple[str, ...] | None = None
    hold_out: HoldOut = field(default_factory=HoldOut)
    folds: tuple[NamedFold, ...] = ()
    allow_shared_subjects: bool = False


def load_protocol(path: str | Path) -> Protocol:
    """
    Reads and checks a protocol.

    Raises:
        InputError: the file can't be read, a key is unknown or missing, or a value doesn't fit.
    """
    return parse_protocol(read_yaml_mapping(path, "protocol"), str(path))


def parse_protocol(given: Mapping, where: str) -> Protocol:
    """
    A protocol from its mapping; `where` names it in messages.

    Raises:
        InputError: as for [`load_protocol`].

    >>> protocol = parse_protocol(
    ...     {"name": "p", "recipe": "r.yaml", "datasets": "data/a", "leave_one_out": "device"}, "p.yaml"
    ... )
    >>> protocol.datasets, protocol.leave_one_out, protocol.hold_out.by
    (('data/a',), 'device', 'subject')
    """
    check_keys(given, KEYS, where)
    for key in ("name", "recipe", "datasets"):
        if key not in given:
            raise InputError(f"{where}: {key} is missing")
    if ("leave_one_out" in given) == ("folds" in given):
        raise InputError(f"{where}: expected either leave_one_out or folds")
    if "folds" in given:
        for key in ONLY_LEFT_OUT:
            if key in given:
                raise InputError(f"{where}: {key} goes with leave_one_out; folds say themselves what is in each part")
    column = given.get("leave_one_out")
    if "leave_one_out" in given:
        _one_of(column, tuple(LEFT_OUT), f"{where}: leave_one_out")
    options = _mapping(given.get("options", {}), f"{where}: options")
    for name in options:
        if name in OF_A_FOLD:
            raise InputError(f"{where}: options: {name} can't be given: each fold has its own")
    return Protocol(
        name=_text(given["name"], f"{where}: name"),
        recipe=_text(given["recipe"], f"{where}: recipe"),
        datasets=_texts(given["datasets"], f"{where}: datasets"),
        options=options,
        criterion=_text(given.get("criterion", "eer"), f"{where}: criterion"),
        level=_one_of(given.get("level", "image"), LEVELS, f"{where}: level"),
        species=_species(given.get("species", {}), f"{where}: species"),
        leave_one_out=column,
        targets=_texts(given["targets"], f"{where}: targets") if "targets" in given else None,
        hold_out=_hold_out(given.get("hold_out", {}), f"{where}: hold_out"),
        folds=_folds(given["folds"], f"{where}: folds") if "folds" in given else (),
        allow_shared_subjects=_flag(given.get("allow_shared_subjects", False), f"{where}: allow_shared_subjects"),
    )


def check_keys(given: Mapping, known: Collection[str], where: str) -> None:
    """
    Raises:
        InputError: a key is unknown; names the nearest known ones.
    """
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")


def _folds(given, where: str) -> tuple[NamedFold, ...]:
    if not isinstance(given, list) or not given:
        raise InputError(f"{where} is {given!r}; expected a list of folds, each with name, {', '.join(PARTS)}")
    folds = []
    for number, item in enumerate(given, start=1):
        place = f"{where}: fold {number}"
        item = _mapping(item, place)
        check_keys(item, ("name", *PARTS), place)
        name = _text(item.get("name", str(number)), f"{place}: name")
        for part in PARTS:
            if part not in item:
                raise InputError(f"{where}: fold {name}: {part} is missing; expected a filter of captures")
        filters = {part: CaptureFilter.parse(item[part], f"{where}: fold {name}: {part}") for part in PARTS}
        folds.append(NamedFold(name, filters, {part: item[part] for part in PARTS}))
    return tuple(folds)


def _hold_out(given, where: str) -> HoldOut:
    given = _mapping(given, where)
    check_keys(given, ("by", "development", "test", "seed"), where)
    shares = {}
    for name in ("development", "test"):
        share = given.get(name, getattr(HoldOut, name))
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise InputError(f"{where}: {name} is {share!r}; expected a share between 0 and 1, for example 0.2")
        shares[name] = float(share)
    if sum(shares.values()) >= 1:
        raise InputError(
            f"{where}: development and test are {sum(shares.values()):g} in all; nothing is left to train"
        )
    seed = given.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"{where}: seed is {seed!r}; expected a whole number, 0 or more")
    return HoldOut(by=_one_of(given.get("by", "subject"), GROUPS, f"{where}: by"), seed=seed, **shares)


def _species(given, where: str) -> dict[str, tuple[str, ...]]:
    species = {_text(name, where): _texts(types, f"{where}: {name}") for name, types in _mapping(given, where).items()}
    named = [kind for types in species.values() for kind in types]
    for kind in named:
        if named.count(kind) > 1:
            raise InputError(f"{where}: attack type {kind!r} is named twice")
    return species


def _mapping(given, where: str) -> dict:
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}; expected a mapping of names to values")
    return dict(given)


def _text(given, where: str) -> str:
    if isinstance(given, bool) or not isinstance(given, (str, int, float)) or not str(given).strip():
        raise InputError(f"{where} is {given!r}; expected text")
    return str(given)


def _texts(given, where: str) -> tuple[str, ...]:
    items = given if isinstance(given, list) else [given]
    if not items:
        raise InputError(f"{where} is an empty list")
    texts = tuple(_text(item, where) for item in items)
    for text in texts:
        if texts.count(text) > 1:
            raise InputError(f"{where}: {text} is named twice")
    return texts


def _flag(given, where: str) -> bool:
    if not isinstance(given, bool):
        raise InputError(f"{where} is {given!r}; expected true or false")
    return given


def _one_of(given, known: Collection[str], where: str) -> str:
    if given not in known:
        raise InputError(f"{where} is {given!r}; expected one of {', '.join(known)}{did_you_mean(str(given), known)}")
    return given
