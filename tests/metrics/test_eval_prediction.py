"""`compute_metrics` in a plain transformers Trainer: the same numbers as from the scores."""

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

from patchnet_hf.metrics import compute_metrics, compute_metrics_with, presentation_attack_metrics


class TwoLogits(torch.nn.Module):
    """Scores that are known: spoof and live logits from one number of each image, and a second output beside them."""

    main_input_name = "feature"

    def forward(self, feature, labels=None):
        logits = torch.stack([-feature, 3.0 * feature], dim=-1)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits, "extra": feature}


generator = np.random.default_rng(1)
LABELS = generator.integers(0, 2, 50)
FEATURES = generator.normal(LABELS - 0.5, 1.0).astype(np.float32)
TYPES = np.where(LABELS == 1, "bonafide", generator.choice(["print", "mask"], 50))
ROWS = [{"feature": feature, "labels": label} for feature, label in zip(FEATURES, LABELS, strict=True)]


def evaluated(tmp_path, function, **arguments):
    arguments = TrainingArguments(
        str(tmp_path), per_device_eval_batch_size=16, report_to=[], disable_tqdm=True, use_cpu=True, **arguments
    )
    found = Trainer(TwoLogits(), arguments, eval_dataset=ROWS, compute_metrics=function).evaluate()
    return {name.removeprefix("eval_"): value for name, value in found.items()}


@pytest.mark.parametrize("include", [[], ["inputs", "loss"]])
def test_a_trainer_reports_the_numbers_of_its_scores(tmp_path, include):
    function = compute_metrics_with(TYPES, threshold=0.6)
    found = evaluated(tmp_path, function, include_for_metrics=include)
    expected = presentation_attack_metrics(4.0 * FEATURES.astype(float), LABELS, TYPES, 0.6)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_without_types_and_threshold_it_needs_no_arguments(tmp_path):
    found = evaluated(tmp_path, compute_metrics)
    expected = presentation_attack_metrics(4.0 * FEATURES.astype(float), LABELS)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore:no float64 probability")
def test_log_odds_keep_their_order_where_single_precision_would_not():
    # 2^24 and 2^24 + 1 are one float32; their difference to -2 is not taken in it.
    logits = np.array([[-1.0, 2**24], [0.0, 2**24]], dtype=np.float32)
    assert compute_metrics(EvalPrediction(predictions=logits, label_ids=np.array([1, 0])))["auc"] == 1.0
    at = compute_metrics_with(threshold_log_odds=2**24 + 0.5)
    assert at(EvalPrediction(predictions=(logits, None), label_ids=np.array([1, 0])))["acer"] == 0.0


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        (np.zeros(4), [0] * 4, r"predictions have shape \(4,\), expected logits \(N, 2\): spoof, live"),
        (np.zeros((4, 3)), [0] * 4, r"predictions have shape \(4, 3\)"),
        (np.zeros((4, 2)), [0, 1, 2, 3], "labels must be 0 .* or 1"),
    ],
)
def test_what_cannot_be_used_is_refused(predictions, labels, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(EvalPrediction(predictions=predictions, label_ids=np.array(labels)))


def test_an_unusable_threshold_is_found_before_the_evaluation():
    with pytest.raises(ValueError, match="a threshold must be a probability"):
        compute_metrics_with(threshold=2.0)
    with pytest.raises(ValueError, match=r"attack_types have shape \(3,\), expected one per score: \(2,\)"):
        compute_metrics_with(["print"] * 3)((np.zeros((2, 2)), [0, 1]))
