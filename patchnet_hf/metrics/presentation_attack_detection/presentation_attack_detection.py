"""Presentation attack detection as a module of the `evaluate` library."""

import difflib
import inspect
from typing import Any

import datasets
import evaluate
import numpy as np
import pandas

from patchnet_hf.metrics import metric_intervals, presentation_attack_metrics
from patchnet_hf.metrics.bootstrap import checked_whole_number
from patchnet_hf.metrics.columns import name_column, number_groups, objects_at
from patchnet_hf.metrics.error_rates import check_rows, comparison_value
from patchnet_hf.metrics.intervals import checked_confidence

# Imports are absolute and of modules: evaluate.load runs a copy of this file from its cache, and takes the first class
# of a module that is an EvaluationModule, which an imported evaluate.Metric would be.

_DESCRIPTION = """\
Error rates of presentation attack detection (face anti-spoofing) after ISO/IEC 30107-3: APCER of each attack type and
of the worst, BPCER, ACER, EER, AUC, BPCER at fixed APCERs, and precision, recall, specificity, F1 and F3 of attacks;
on request with confidence intervals, Wilson's for rates and a bootstrap over persons or videos for the others.
"""

_INPUTS = """
Args:
    predictions: live log-odds, log(P(live) / P(attack)), one number per image.
    references: 1 = bona fide, 0 = attack.
    attack_types: strings, the attack type of each image, ignored for bona fides. None, for all: one type, "attack".
    groups: the person or video of each image, which the bootstrap draws as a whole; None where there is none.
    threshold: a probability in (0, 1); an image is accepted as live when its log-odds reach those of the threshold.
    threshold_log_odds: the threshold in log-odds, instead of threshold.
    intervals: add <name>_low and <name>_high for every number that has a confidence interval.
    resamples, confidence, seed: of the intervals; 1000, 0.95 and 0 unless given.

Returns:
    A flat dictionary of floats, and integers for counts: apcer, apcer_pooled, apcer_type_<type>, bpcer, acer,
    acer_pooled, precision, recall, specificity, f1, f3, eer, eer_threshold, auc, bpcer_at_apcer_1, _5 and _10,
    threshold, log_loss, images, bona_fides, attacks. Rates are shares in [0, 1]; NaN where a class is absent.

Examples:
    >>> metric = PresentationAttackDetection(keep_in_memory=True)
    >>> results = metric.compute(
    ...     predictions=[3.0, 2.0, -1.0, 0.5, -2.0],
    ...     references=[1, 1, 1, 0, 0],
    ...     attack_types=["", "", "", "print", "mask"],
    ... )
    >>> round(results["apcer"], 3), round(results["bpcer"], 3), round(results["acer"], 3)
    (1.0, 0.333, 0.667)
"""

_CITATION = """\
@standard{iso30107-3,
  title = {Information technology -- Biometric presentation attack detection -- Part 3: Testing and reporting},
  organization = {ISO/IEC},
  number = {ISO/IEC 30107-3:2023},
  year = {2023}
}
"""

_OPTIONS = {
    "threshold": 0.5,
    "threshold_log_odds": None,
    "intervals": False,
    "resamples": 1000,
    "confidence": 0.95,
    "seed": 0,
}
_ENDS = ("low", "high")


class PresentationAttackDetection(evaluate.Metric):
    __doc__ = (
        _DESCRIPTION
        + """
What :meth:`compute` takes as options can be given here, too, or to `evaluate.load`, and then holds for every call; in
`evaluate.combine` with other modules this is the way, because `combine` hands options to all of them.
"""
        + _INPUTS
    )

    def __init__(self, *args, **kwargs):
        # The library takes any keyword, and so would take a misspelled option.
        of_library = inspect.signature(evaluate.Metric.__init__).parameters
        options = {name: kwargs.pop(name) for name in list(kwargs) if name not in of_library}
        if kwargs.get("seed") is not None:  # which the library takes, too
            options["seed"] = kwargs["seed"]
        self._options = _checked_options(_OPTIONS | options)
        super().__init__(*args, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            # Log-odds in double precision: in single, scores of a saturated model become equal and lose their order.
            # No format="numpy" either, which reads single precision. Strings are "large" because of "string" evaluate
            # refuses a column that starts with None.
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("int64"),
                    "attack_types": datasets.Value("large_string"),
                    "groups": datasets.Value("large_string"),
                }
            ),
            reference_urls=["https://www.iso.org/standard/79520.html"],
        )

    def add(
        self, *, prediction=None, reference=None, attack_types=None, groups=None, predictions=None, references=None
    ):
        """Add one image; arguments as for :meth:`compute`, one value each. The plurals are what `combine` gives."""
        prediction = predictions if prediction is None else prediction
        reference = references if reference is None else reference
        row = self._checked_columns([prediction], [reference], [attack_types], [groups])
        predictions, references = row.pop("predictions"), row.pop("references")
        super().add(
            prediction=predictions[0], reference=references[0], **{name: column[0] for name, column in row.items()}
        )

    def add_batch(self, *, predictions=None, references=None, attack_types=None, groups=None):
        """Add some images; arguments as for :meth:`compute`."""
        super().add_batch(**self._checked_columns(predictions, references, attack_types, groups))

    def compute(self, *, predictions=None, references=None, attack_types=None, groups=None, **options):
        """Compute all numbers, of what is given here and what was added before."""
        fixed = self._options
        if "threshold" in options:  # which those in log-odds would win against
            fixed = fixed | {"threshold_log_odds": None}
        options = _checked_options(fixed | options)
        if predictions is None and references is None and self.writer is None:
            raise ValueError("there is nothing to compute: give predictions and references, or add them before")
        return super().compute(
            predictions=predictions, references=references, attack_types=attack_types, groups=groups, **options
        )

    def _checked_columns(self, predictions, references, attack_types, groups) -> dict[str, list]:
        """:func:`_columns`, when their attacks have types as those added before have, or have none as those have."""
        columns = _columns(predictions, references, attack_types, groups)
        rows = zip(columns["references"], columns["attack_types"], strict=True)
        typed = {name is not None for reference, name in rows if reference == 0}
        if self.writer is not None:
            typed |= self._typed
        if len(typed) > 1:
            raise ValueError("some attacks have attack_types and others have none; expected them for all or for none")
        self._typed = typed
        return columns

    def _compute(self, predictions, references, attack_types, groups, intervals, resamples, confidence, seed, **at):
        types = attack_types if any(name is not None for name in attack_types) else None
        results = presentation_attack_metrics(predictions, references, types, **at)
        if intervals:
            bounds = metric_intervals(
                predictions, references, types, groups, **at, resamples=resamples, confidence=confidence, seed=seed
            )
            ends = {
                f"{name}_{end}": bound for name, pair in bounds.items() for end, bound in zip(_ENDS, pair, strict=True)
            }
            if taken := sorted(set(ends) & set(results)):
                raise ValueError(f"an attack type is named so that {taken[0]!r} would be a rate and an interval's end")
            results |= ends
        return results


def _columns(predictions, references, attack_types, groups) -> dict[str, list]:
    """The rows of a batch as the features want them, checked before anything is stored."""
    if predictions is None or references is None:
        missing = "predictions" if predictions is None else "references"
        raise ValueError(f"{missing} are missing; expected one of the predictions and references for each image")
    given_types = None if _all_missing(attack_types) else attack_types
    rows = check_rows(predictions, references, given_types)
    size = rows.scores.size
    if given_types is None:
        number_groups(attack_types, size, "attack_types")
    number_groups(groups, size, "groups")
    every_row = np.arange(size)
    types = np.full(size, None) if given_types is None else objects_at(given_types, every_row)
    types[~rows.is_attack] = None
    names = [None] * size if groups is None else objects_at(groups, every_row).tolist()
    return {
        "predictions": rows.scores.tolist(),
        "references": (1 - rows.is_attack).tolist(),
        "attack_types": types.tolist(),
        "groups": [None if name is None else _group_name(name) for name in names],
    }


def _group_name(name: Any) -> str:
    """A string for each group: 3 and 3.0 are one, as pandas makes 3.0 of 3 in a batch where a number is missing."""
    whole = isinstance(name, float | np.floating) and float(name).is_integer()
    return str(int(name) if whole else name)


def _all_missing(values: Any) -> bool:
    return values is None or bool(np.all(pandas.isna(np.asarray(name_column(values), dtype=object))))


def _checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options, wrong ones found before anything is computed and the stored rows are gone."""
    for name in options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, [*_OPTIONS, "attack_types", "groups"], n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; expected {', '.join(_OPTIONS)}"
            raise ValueError(f"there is no option {name!r}{meant}")
    comparison_value(options["threshold"], options["threshold_log_odds"])
    if options["intervals"]:
        checked_confidence(options["confidence"])
        checked_whole_number(options["resamples"], "resamples", 1)
        checked_whole_number(options["seed"], "seed", 0)
    return options
