"""The table that papers print."""

import math
import statistics

import numpy as np
import pytest

from patchnet_hf.protocols.table import NUMBERS, latex_row, markdown_table, plain_table, summary_of


def folds(count: int) -> list[dict]:
    random = np.random.default_rng(count)
    return [
        {
            "fold": f"phone {number}",
            "metrics": {name: float(value) for (name, _), value in zip(NUMBERS, random.random(6), strict=True)},
            "counts": {"images": 100, "subjects": 0},
            "threshold_log_odds": 0.5,
        }
        for number in range(count)
    ]


def test_mean_and_deviation_are_those_of_a_sample():
    some = folds(6)
    for name, _ in NUMBERS:
        values = [fold["metrics"][name] for fold in some]
        entry = summary_of(some)[name]
        assert entry["mean"] == pytest.approx(statistics.mean(values))
        assert entry["standard_deviation"] == pytest.approx(statistics.stdev(values))


def test_one_fold_has_no_row_of_means_and_no_deviation():
    assert "mean" not in plain_table(folds(1), "fold", "images") and "±" not in markdown_table(
        folds(1), "fold", "images"
    )
    assert math.isnan(summary_of(folds(1))["acer"]["standard_deviation"])
    assert "pm" not in latex_row(folds(1), "p")


def test_unknown_subjects_and_undefined_rates_are_a_dash():
    some = folds(1)
    some[0]["metrics"]["auc"] = math.nan
    row = plain_table(some, "fold", "images").splitlines()[-1].split()
    assert row[-1] == "-" and row[-4] == "-"


def test_the_latex_row_has_one_decimal_as_papers_have_it():
    some = folds(2)
    first, second = (fold["metrics"]["apcer"] for fold in some)
    mean, deviation = 100 * (first + second) / 2, 100 * abs(first - second) / math.sqrt(2)
    assert latex_row(some, "a_b").startswith(f"a\\_b & {mean:.1f}$\\pm${deviation:.1f} & ")
    assert latex_row(some, "a_b").endswith(" \\\\")
    assert latex_row(some, "10 % & more").startswith(r"10 \% \& more & ")
