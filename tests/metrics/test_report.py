"""The flat dictionary of all numbers: agrees with each function, and can be logged and written as it is."""

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from patchnet_hf import metrics
from patchnet_hf.metrics import UndefinedRateWarning, log_loss, presentation_attack_metrics

generator = np.random.default_rng(0)
LABELS = generator.integers(0, 2, 600)
SCORES = np.round(generator.normal(2.0 * LABELS, 2.0), 1).astype(np.float32)
TYPES = np.where(LABELS == 1, "bonafide", generator.choice(["print", "replay"], 600))

KEYS = [
    *("apcer", "apcer_pooled", "apcer_type_print", "apcer_type_replay", "bpcer", "acer", "acer_pooled"),
    *("precision", "recall", "specificity", "f1", "f3"),
    *("eer", "eer_threshold", "auc", "bpcer_at_apcer_1", "bpcer_at_apcer_5", "bpcer_at_apcer_10"),
    *("threshold", "log_loss", "images", "bona_fides", "attacks"),
]


def test_every_number_is_that_of_its_function():
    report = presentation_attack_metrics(SCORES, LABELS, TYPES, threshold=0.7)
    assert list(report) == KEYS
    for name in ("apcer", "acer"):
        assert report[name] == getattr(metrics, name)(SCORES, LABELS, TYPES, 0.7)
    for name in ("apcer_pooled", "bpcer", "acer_pooled", "precision", "recall", "specificity"):
        assert report[name] == getattr(metrics, name)(SCORES, LABELS, 0.7)
    for beta in (1, 3):
        assert report[f"f{beta}"] == metrics.f_score(SCORES, LABELS, beta, 0.7)
    for name in ("eer", "eer_threshold", "auc"):
        assert report[name] == getattr(metrics, name)(SCORES, LABELS)
    assert report["log_loss"] == pytest.approx(log_loss(SCORES, LABELS), rel=1e-12)  # summed in another order
    for percent in (1, 5, 10):
        assert report[f"bpcer_at_apcer_{percent}"] == metrics.bpcer_at_apcer(SCORES, LABELS, TYPES, percent)
    by_type = metrics.apcer_by_type(SCORES, LABELS, TYPES, 0.7)
    assert {name: report[f"apcer_type_{name}"] for name in ("print", "replay")} == by_type
    assert report["threshold"] == 0.7
    assert (report["images"], report["bona_fides"], report["attacks"]) == (600, LABELS.sum(), 600 - LABELS.sum())


def test_it_can_be_written_as_json_and_read_back():
    report = presentation_attack_metrics(SCORES, LABELS, TYPES, np.float32(0.5))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {type(value) for value in report.values()} == {float, int}
    assert all(type(report[count]) is int for count in ("images", "bona_fides", "attacks"))


def test_without_types_there_is_one_type_and_both_apcers_agree():
    report = presentation_attack_metrics(SCORES, LABELS)
    assert report["apcer"] == report["apcer_pooled"] == report["apcer_type_attack"]
    assert report["acer"] == report["acer_pooled"]


def test_white_space_and_slashes_of_a_type_become_underscores():
    report = presentation_attack_metrics([1.0, 0.0, 0.0], [1, 0, 0], ["", "phone1/print a4", "papier-mâché\tmask"])
    assert [name for name in report if name.startswith("apcer_type_")] == [
        "apcer_type_papier-mâché_mask",
        "apcer_type_phone1_print_a4",
    ]


def test_two_types_that_would_share_a_key_are_refused():
    with pytest.raises(ValueError, match=r"'apcer_type_print_a4': 'print a4', 'print/a4'"):
        presentation_attack_metrics([1.0, 0.0, 0.0], [1, 0, 0], ["", "print/a4", "print a4"])


@pytest.mark.parametrize(("label", "absent", "present"), [(1, "no attacks", "bpcer"), (0, "no bona fides", "apcer")])
def test_a_single_class_gives_nan_for_what_needs_the_other_with_one_warning(label, absent, present):
    with pytest.warns(UndefinedRateWarning, match=f"{absent} .* in a set of 2 images") as seen:
        report = presentation_attack_metrics([1.0, -1.0], [label, label])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert report[present] == 0.5
    for name in ("acer", "acer_pooled", "eer", "eer_threshold", "auc", "bpcer_at_apcer_1", "bpcer_at_apcer_10"):
        assert math.isnan(report[name])
    assert math.isnan(report["apcer" if present == "bpcer" else "bpcer"])
    assert all(math.isnan(report[name]) for name in ("precision", "f1", "f3"))
    assert math.isnan(report["recall"]) == (label == 1) and math.isnan(report["specificity"]) == (label == 0)
    assert report["log_loss"] == pytest.approx((math.log1p(math.e) + math.log1p(1 / math.e)) / 2)


def test_an_empty_set_gives_nan_and_counts_of_zero_with_one_warning():
    with pytest.warns(UndefinedRateWarning) as seen:
        report = presentation_attack_metrics([], [], [])
    assert len(seen) == 1
    assert report["threshold"] == 0.5
    assert (report["images"], report["bona_fides"], report["attacks"]) == (0, 0, 0)
    assert all(math.isnan(value) for value in report.values() if isinstance(value, float) and value != 0.5)


def test_saturated_scores_are_ranked_and_the_missing_threshold_is_said_once():
    with pytest.warns(RuntimeWarning, match="eer_threshold") as seen:
        report = presentation_attack_metrics([80.0, 60.0], [1, 0])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert (report["auc"], report["eer"], report["bpcer_at_apcer_1"]) == (1.0, 0.0, 0.0)
    assert (report["apcer"], report["bpcer"]) == (1.0, 0.0)


def test_a_usual_set_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        presentation_attack_metrics(SCORES, LABELS, TYPES)


def test_the_order_of_images_does_not_matter():
    order = np.random.default_rng(1).permutation(len(SCORES))
    shuffled = presentation_attack_metrics(SCORES[order], LABELS[order], TYPES[order])
    assert shuffled == pytest.approx(presentation_attack_metrics(SCORES, LABELS, TYPES), abs=1e-12)


def test_log_loss_is_that_of_scikit_learn():
    probabilities = 1 / (1 + np.exp(-SCORES.astype(float)))
    assert log_loss(SCORES, LABELS) == pytest.approx(sklearn.metrics.log_loss(LABELS, probabilities), rel=1e-9)


def test_log_loss_does_not_overflow_or_clip():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log_loss([1000.0, -1000.0], [1, 0]) == 0.0
        assert log_loss([1000.0, -500.0], [0, 1]) == 750.0
        assert log_loss([np.inf, -np.inf], [1, 0]) == 0.0
        assert log_loss([np.inf], [0]) == math.inf
        assert log_loss([0.0], [1]) == pytest.approx(math.log(2))


def test_log_loss_of_an_empty_set_is_nan_with_a_warning():
    with pytest.warns(UndefinedRateWarning, match="log_loss is NaN"):
        assert math.isnan(log_loss([], []))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1]), "labels have shape"),
        (([1.0], [3]), "labels must be 0"),
        (([float("nan")], [1]), "scores must not be NaN"),
        (([1.0], [1], ["print", "mask"]), "attack_types have shape"),
        (([1.0], [1], None, 1.0), "a threshold must be a probability"),
    ],
)
def test_unusable_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        presentation_attack_metrics(*arguments)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_ten_million_scores_take_less_than_ten_seconds_and_two_gigabytes(tmp_path):
    # In a process of its own, and by VmHWM: what getrusage calls the peak is at least that of the process which
    # started this one. Processor time, which other load leaves.
    code = (
        "import re, time, numpy as np\n"
        "from pathlib import Path\n"
        "from patchnet_hf.metrics import presentation_attack_metrics\n"
        "generator = np.random.default_rng(0)\n"
        "labels = generator.integers(0, 2, 10_000_000, dtype=np.int8)\n"
        "scores = generator.normal(size=10_000_000)\n"
        "scores += labels\n"
        "types = np.array(['cut', 'mask', 'print', 'replay', 'wrap'])[generator.integers(0, 5, 10_000_000)]\n"
        "started = time.process_time()\n"
        "images = presentation_attack_metrics(scores, labels, types)['images']\n"
        "seconds = time.process_time() - started\n"
        "print(images, seconds, re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    images, seconds, kilobytes = done.stdout.split()
    assert int(images) == 10_000_000
    assert float(seconds) < 10.0
    assert int(kilobytes) * 1024 < 2e9
