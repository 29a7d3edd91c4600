"""Error rates of presentation attack detection at one threshold (ISO/IEC 30107-3:2023).

A score is the live log-odds of an image, `logits[:, 1] - logits[:, 0]`; label 1 is a bona fide, label 0 an attack. A
threshold is written as a probability and compared as log-odds: an image is accepted as live when
`score >= log(threshold / (1 - threshold))`. All rates are shares in [0, 1]; a rate whose class is absent is NaN, with
an :class:`UndefinedRateWarning`.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from .columns import in_memory, name_column, number_names

DEFAULT_ATTACK_TYPE = "attack"


class UndefinedRateWarning(UserWarning):
    """A rate is NaN because the set has no image of the class that it is a share of."""


class ScoresByClass(NamedTuple):
    """Checked scores, sorted out by class: what every function of this package works on.

    Attributes:
        bona_fides: float64 of shape `(B,)`, log-odds of the bona fides, in the order given.
        attacks: attack type to float64 of shape `(A_t,)`; types in alphabetical order, none of them empty.
    """

    bona_fides: np.ndarray
    attacks: dict[str, np.ndarray]

    @property
    def pooled_attacks(self) -> np.ndarray:
        """Float64 of shape `(A,)`: the attacks of all types together."""
        return np.concatenate([*self.attacks.values(), np.empty(0)])

    @property
    def attack_count(self) -> int:
        return sum(scores.size for scores in self.attacks.values())


class ErrorRates(NamedTuple):
    """All rates at one threshold, NaN where the class is absent."""

    apcer_by_type: dict[str, float]
    apcer: float
    apcer_pooled: float
    bpcer: float
    acer: float
    acer_pooled: float


def split_by_class(scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None = None) -> ScoresByClass:
    """Check what a caller gave and sort the scores out by class and attack type.

    Args:
        scores: shape `(N,)`, live log-odds; infinities are allowed, NaN is not.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`; those of bona fides are ignored. None: all attacks are of one type,
            `"attack"`.

    Raises:
        ValueError: a shape, a length, a label, a score or a type that can't be used; says which.

    >>> split_by_class([2.0, -1.0, 0.5], [1, 0, 0], ["bonafide", "print", "mask"]).attacks
    {'mask': array([0.5]), 'print': array([-1.])}
    """
    return check_rows(scores, labels, attack_types).by_class()


class CheckedRows(NamedTuple):
    """What a caller gave, checked, in the order given.

    Attributes:
        scores: float64 of shape `(N,)`.
        is_attack: bool of shape `(N,)`.
        types: the attack types in alphabetical order; every one has attacks.
        numbers: int64 of shape `(A,)`, for each attack the index of its type; None when there is one type.
    """

    scores: np.ndarray
    is_attack: np.ndarray
    types: list[str]
    numbers: np.ndarray | None

    def by_class(self) -> ScoresByClass:
        attacks = self.scores[self.is_attack]
        if self.numbers is None:
            by_type = dict.fromkeys(self.types, attacks)
        else:
            by_type = {name: attacks[self.numbers == index] for index, name in enumerate(self.types)}
        return ScoresByClass(self.scores[~self.is_attack], by_type)

    def type_numbers(self) -> np.ndarray:
        """Int64 of shape `(N,)`: the index of each row's attack type, -1 for bona fides."""
        numbers = np.full(self.scores.size, -1)
        numbers[self.is_attack] = 0 if self.numbers is None else self.numbers
        return numbers


def check_rows(scores: ArrayLike, labels: ArrayLike, attack_types: ArrayLike | None = None) -> CheckedRows:
    """The checks of :func:`split_by_class`, without sorting out.

    >>> check_rows([2.0, -1.0, 0.5], [1, 0, 0], ["bonafide", "print", "mask"])[2:]
    (['mask', 'print'], array([1, 0]))
    """
    scores, labels = _checked_scores(scores), np.asarray(in_memory(labels))
    if labels.shape != scores.shape:
        raise ValueError(f"labels have shape {labels.shape}, expected one per score: {scores.shape}")
    is_bona_fide, is_attack = labels == 1, labels == 0
    known = is_bona_fide | is_attack
    if not np.all(known):
        unknown = labels[~known]
        examples = ", ".join(repr(label) for label in list(dict.fromkeys(unknown[:1000].tolist()))[:5])
        raise ValueError(f"labels must be 0 (attack) or 1 (bona fide); {unknown.size} are not, for example {examples}")
    return CheckedRows(scores, is_attack, *_numbered_types(is_attack, attack_types))


def _checked_scores(scores: ArrayLike) -> np.ndarray:
    try:
        given = np.asarray(in_memory(scores))
        if np.iscomplexobj(given):
            raise TypeError("complex")
        array = given.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"scores must be real numbers, one log-odds value per image: {error}") from error
    if array.ndim != 1:
        raise ValueError(
            f"scores have shape {array.shape}, expected (N,): one log-odds value per image, "
            "logits[:, 1] - logits[:, 0]"
        )
    missing = np.isnan(array)
    if missing.any():
        raise ValueError(
            f"scores must not be NaN; {np.count_nonzero(missing)} of {array.size} are, the first at index "
            f"{np.argmax(missing)}"
        )
    return array


def _numbered_types(is_attack: np.ndarray, attack_types: ArrayLike | None) -> tuple[list[str], np.ndarray | None]:
    if attack_types is None:
        return [DEFAULT_ATTACK_TYPE] if is_attack.any() else [], None
    attack_types = name_column(attack_types)
    if attack_types.shape != is_attack.shape:
        raise ValueError(f"attack_types have shape {attack_types.shape}, expected one per score: {is_attack.shape}")
    of_attacks = attack_types[is_attack]
    try:
        numbers, names = number_names(of_attacks)
        not_strings = {type(name) for name in names if not isinstance(name, str)}
        missing = numbers < 0
        if missing.any():
            not_strings.add(type(of_attacks[int(np.argmax(missing))]))
    except TypeError:  # such as a list, which can't be hashed
        not_strings = {type(name) for name in of_attacks if not isinstance(name, str)}
    if not_strings:
        wrong = ", ".join(sorted(kind.__name__ for kind in not_strings))
        raise ValueError(f"attack_types of attacks must be strings, got also {wrong}")
    alphabetical = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), dtype=np.int64)
    place[alphabetical] = np.arange(len(names))
    return [str(names[index]) for index in alphabetical], place[numbers]


def log_odds(threshold: float) -> float:
    """The log-odds of a threshold written as a probability: `log(p / (1 - p))`.

    Raises:
        ValueError: the threshold is outside the open interval (0, 1).

    >>> log_odds(0.5)
    0.0
    >>> round(log_odds(0.9), 4)
    2.1972
    """
    try:
        value = float(threshold)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a threshold must be a probability, one number in (0, 1); got {threshold!r}") from error
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"a threshold must be a probability in (0, 1), both ends excluded; got {value!r}. "
            "Give log-odds as threshold_log_odds, where the function takes it"
        )
    return float(logit(value))


def comparison_value(threshold: float, threshold_log_odds: float | None) -> float:
    """The log-odds to compare scores with: `threshold_log_odds` when given, else those of `threshold`.

    Raises:
        ValueError: the threshold is outside (0, 1), or the log-odds are NaN.

    >>> comparison_value(0.5, None), comparison_value(0.5, 42.0)
    (0.0, 42.0)
    """
    if threshold_log_odds is None:
        return log_odds(threshold)
    value = float(threshold_log_odds)
    if np.isnan(value):
        raise ValueError("threshold_log_odds must not be NaN")
    return value


def error_rates_at(by_class: ScoresByClass, threshold_log_odds: float) -> ErrorRates:
    """All error rates at one threshold in log-odds; absent classes give NaN, without a warning.

    >>> error_rates_at(split_by_class([2.0, -1.0, 0.5, -3.0], [1, 1, 0, 0], ["", "", "mask", "print"]), 0.0)
    ErrorRates(apcer_by_type={'mask': 1.0, 'print': 0.0}, apcer=1.0, apcer_pooled=0.5, bpcer=0.5, acer=0.75, \
acer_pooled=0.5)
    """
    accepted = {name: int(np.count_nonzero(scores >= threshold_log_odds)) for name, scores in by_class.attacks.items()}
    by_type = {name: accepted[name] / scores.size for name, scores in by_class.attacks.items()}
    worst = max(by_type.values(), default=float("nan"))
    pooled = _share(sum(accepted.values()), by_class.attack_count)
    bpcer = _share(int(np.count_nonzero(by_class.bona_fides < threshold_log_odds)), by_class.bona_fides.size)
    return ErrorRates(by_type, worst, pooled, bpcer, (worst + bpcer) / 2, (pooled + bpcer) / 2)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def warn_if_absent(
    by_class: ScoresByClass, undefined: str, *, bona_fides: bool = True, attacks: bool = True, stacklevel: int = 3
) -> None:
    """Warn once, naming the needed classes that the set lacks; `undefined` says what is undefined for it.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_if_absent(split_by_class([1.0], [1]), "apcer is NaN")
    >>> str(caught[0].message)
    'no attacks (label 0) in a set of 1 image: apcer is NaN'
    """
    absent = []
    if bona_fides and not by_class.bona_fides.size:
        absent.append("no bona fides (label 1)")
    if attacks and not by_class.attack_count:
        absent.append("no attacks (label 0)")
    if absent:
        images = by_class.bona_fides.size + by_class.attack_count
        size = f"a set of {images} image{'' if images == 1 else 's'}"
        warnings.warn(f"{' and '.join(absent)} in {size}: {undefined}", UndefinedRateWarning, stacklevel=stacklevel)


def apcer_by_type(
    scores: ArrayLike,
    labels: ArrayLike,
    attack_types: ArrayLike | None = None,
    threshold: float = 0.5,
    *,
    threshold_log_odds: float | None = None,
) -> dict[str, float]:
    """Attack presentation classification error rate of each attack type (PAI species).

    `APCER_t = |{attacks of type t : score >= log_odds(threshold)}| / |{attacks of type t}|`, ISO/IEC 30107-3:2023.

    Args:
        scores: shape `(N,)`, live log-odds.
        labels: shape `(N,)`, 1 = bona fide, 0 = attack.
        attack_types: strings of shape `(N,)`, ignored for bona fides; None: one type, `"attack"`.
        threshold: a probability in (0, 1).
        threshold_log_odds: the threshold in log-odds, instead of `threshold`. For operating points that no
            probability below 1 reaches in float64 (log-odds above 36.7).

    Returns:
        Attack type to a share in [0, 1], in alphabetical order; empty, with a warning, without attacks.

    Raises:
        ValueError: an argument has the wrong shape, length or range.

    >>> apcer_by_type([3.0, 1.0, -1.0, -2.0], [1, 0, 0, 0], ["bonafide", "print", "print", "mask"])
    {'mask': 0.0, 'print': 0.5}
    """
    by_class = split_by_class(scores, labels, attack_types)
    warn_if_absent(by_class, "apcer_by_type is empty", bona_fides=False)
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).apcer_by_type


def apcer(
    scores: ArrayLike,
    labels: ArrayLike,
    attack_types: ArrayLike | None = None,
    threshold: float = 0.5,
    *,
    threshold_log_odds: float | None = None,
) -> float:
    """Attack presentation classification error rate of the worst attack type.

    `APCER = max over t of APCER_t`, ISO/IEC 30107-3:2023: an attacker picks the instrument that works best, so an
    average over types would hide it. Arguments and errors as for :func:`apcer_by_type`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks.

    >>> apcer([3.0, 1.0, -1.0, -2.0], [1, 0, 0, 0], ["bonafide", "print", "print", "mask"])
    0.5
    """
    by_class = split_by_class(scores, labels, attack_types)
    warn_if_absent(by_class, "apcer is NaN", bona_fides=False)
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).apcer


def apcer_pooled(
    scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> float:
    """Share of all attacks accepted, whatever their type.

    `|{attacks : score >= log_odds(threshold)}| / |{attacks}|`. Not the APCER of ISO/IEC 30107-3:2023, which is per
    type (:func:`apcer`), but the number that many papers and the detectors they compare with report under that name.
    Arguments and errors as for :func:`apcer_by_type`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks.

    >>> apcer_pooled([3.0, 1.0, -1.0, -2.0, -3.0], [1, 0, 0, 0, 0])
    0.25
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "apcer_pooled is NaN", bona_fides=False)
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).apcer_pooled


def bpcer(
    scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> float:
    """Bona fide presentation classification error rate: the share of bona fides rejected.

    `BPCER = |{bona fides : score < log_odds(threshold)}| / |{bona fides}|`, ISO/IEC 30107-3:2023. Arguments and
    errors as for :func:`apcer_by_type`.

    Returns:
        A share in [0, 1]; NaN with a warning without bona fides.

    >>> bpcer([3.0, 0.0, -0.1, -2.0], [1, 1, 1, 0])
    0.3333333333333333
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "bpcer is NaN", attacks=False)
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).bpcer


def acer(
    scores: ArrayLike,
    labels: ArrayLike,
    attack_types: ArrayLike | None = None,
    threshold: float = 0.5,
    *,
    threshold_log_odds: float | None = None,
) -> float:
    """Average classification error rate, with the worst attack type.

    `ACER = (APCER + BPCER) / 2` with :func:`apcer` and :func:`bpcer` at the same threshold. ISO/IEC 30107-3:2023
    reports the two separately; the face anti-spoofing protocols (OULU-NPU, Boulkenafet et al. 2017) rank by their
    mean. Arguments and errors as for :func:`apcer_by_type`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    >>> acer([3.0, -1.0, 1.0, -1.0, -2.0], [1, 1, 0, 0, 0], ["", "", "print", "mask", "mask"])
    0.75
    """
    by_class = split_by_class(scores, labels, attack_types)
    warn_if_absent(by_class, "acer is NaN")
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).acer


def acer_pooled(
    scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5, *, threshold_log_odds: float | None = None
) -> float:
    """Average classification error rate over all attacks together: `(apcer_pooled + bpcer) / 2`.

    With :func:`apcer_pooled` in the place of the APCER of ISO/IEC 30107-3:2023; at a threshold chosen on another set
    it is the half total error rate, :func:`hter`. Arguments and errors as for
    :func:`apcer_by_type`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    >>> acer_pooled([3.0, -1.0, 1.0, -1.0, -2.0, -3.0], [1, 1, 0, 0, 0, 0])
    0.375
    """
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "acer_pooled is NaN")
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).acer_pooled


def hter(
    scores: ArrayLike, labels: ArrayLike, threshold: float | None = None, *, threshold_log_odds: float | None = None
) -> float:
    """Half total error rate: `(apcer_pooled + bpcer) / 2` at a threshold that was chosen on **another** set.

    Bengio and Mariethoz, Odyssey 2004, where both rates are taken at the threshold that the development set gave; the
    usual number of cross-dataset protocols. The value is that of :func:`acer_pooled`; the name says where the
    threshold comes from, so there is no default for it: take it from
    :func:`~patchnet_hf.metrics.threshold_at` of the development set. Arguments and errors as for
    :func:`apcer_by_type`.

    Returns:
        A share in [0, 1]; NaN with a warning without attacks or without bona fides.

    Raises:
        ValueError: also when neither threshold is given.

    >>> hter([3.0, -1.0, 1.0, -1.0, -2.0, -3.0], [1, 1, 0, 0, 0, 0], threshold_log_odds=1.5)
    0.25
    """
    if threshold is None and threshold_log_odds is None:
        raise ValueError("hter needs a threshold that was chosen on another set: give threshold or threshold_log_odds")
    by_class = split_by_class(scores, labels)
    warn_if_absent(by_class, "hter is NaN")
    return error_rates_at(by_class, comparison_value(threshold, threshold_log_odds)).acer_pooled
