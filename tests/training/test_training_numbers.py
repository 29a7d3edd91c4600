"""Rates and loss parts of training: of all captures trained on since the last log, in every process."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from patchnet_hf.metrics import presentation_attack_metrics
from patchnet_hf.models.modeling_patchnet import PatchNetOutput
from patchnet_hf.training.training_numbers import TrainingNumbers

from .test_trainer import small_trainer

RATES = ("acer", "apcer", "bpcer")


def output_of(log_odds, classification=1.0, similarity=1.0) -> PatchNetOutput:
    log_odds = torch.tensor(log_odds)
    parts = {"classification": torch.tensor(classification), "similarity": torch.tensor(similarity)}
    return PatchNetOutput(logits=torch.stack([-log_odds / 2, log_odds / 2], dim=1), loss_dict=parts)


@pytest.fixture(scope="module")
def alone() -> Accelerator:
    return Accelerator(cpu=True)


def test_rates_are_those_of_all_batches_together_with_the_worst_attack_type(alone):
    generator = np.random.default_rng(0)
    numbers = TrainingNumbers(4)
    scores, ids = generator.normal(size=(5, 16)).astype(np.float32), generator.integers(0, 4, (5, 16))
    for batch, of_batch in zip(scores, ids, strict=True):
        numbers.add(output_of(batch.tolist()), torch.from_numpy(of_batch), 0.3)
    taken = numbers.take(alone)
    kinds = np.array(["", "mask", "print", "replay"])[ids.ravel()]
    threshold = 1 / (1 + np.exp(-0.3))
    expected = presentation_attack_metrics(scores.ravel(), (ids.ravel() == 0).astype(int), kinds, threshold)
    assert {name: taken[name] for name in RATES} == pytest.approx({name: expected[name] for name in RATES})


def test_loss_parts_are_means_over_batches_since_the_last_time(alone):
    numbers = TrainingNumbers(2)
    ids = torch.tensor([0, 1])
    numbers.add(output_of([0.0, 0.0], 100.0, 100.0), ids, 0.0)
    numbers.take(alone)
    numbers.add(output_of([0.0, 0.0], 3.0, 0.5), ids, 0.0)
    numbers.add(output_of([0.0, 0.0], 5.0, 0.1), ids, 0.0)
    taken = numbers.take(alone)
    assert taken["loss_classification"] == 4.0 and taken["loss_similarity"] == pytest.approx(0.3)
    assert numbers.take(alone) == {}, "nothing was added since"


def test_what_is_not_defined_is_left_out(alone):
    numbers = TrainingNumbers(3)
    numbers.add(output_of([1.0, -1.0], float("nan"), 0.5), torch.tensor([1, 1]), 0.0)
    assert numbers.take(alone) == {"apcer": 0.5, "loss_similarity": 0.5}
    numbers.add(output_of([1.0, -1.0, -2.0]), torch.tensor([0, 0, 0]), 0.0)
    assert set(numbers.take(alone)) == {"bpcer", "loss_classification", "loss_similarity"}
    numbers.add(output_of([1.0, -1.0]), None, 0.0)
    assert set(numbers.take(alone)) == {"loss_classification", "loss_similarity"}


def test_a_new_training_starts_at_zero(alone):
    numbers = TrainingNumbers(2)
    numbers.add(output_of([1.0, 1.0], 9.0), torch.tensor([0, 1]), 0.0)
    numbers.on_train_begin(None, None, None)
    assert numbers.take(alone) == {}


def test_predicting_labelled_captures_gives_logits_alone_and_counts_for_nothing(tmp_path):
    trainer = small_trainer(tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    loss, logits, labels = trainer.prediction_step(trainer.model, batch, prediction_loss_only=False)
    assert loss.ndim == 0 and logits.shape == (8, 2) and torch.equal(labels, batch["labels"])
    assert trainer.training_numbers.take(trainer.accelerator) == {}


@pytest.mark.slow
def test_the_parts_add_up_to_the_loss_where_the_last_step_accumulates_fewer_passes(tmp_path):
    options = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    trainer = small_trainer(tmp_path, gradient_accumulation_steps=2, logging_steps=2, **options)
    trainer.train()
    # Three passes of eight captures: a step of two of them, then one of the third alone.
    (logged,) = [log for log in trainer.state.log_history if "loss" in log]
    total = 2 * logged["loss_classification"] + logged["loss_similarity"]
    assert total == pytest.approx(logged["loss"], rel=1e-4)


@pytest.mark.slow
def test_training_rates_are_over_the_captures_of_both_processes(tmp_path, run_processes):
    run_processes("training_numbers_run.py", tmp_path)
    ranks = [SimpleNamespace(**torch.load(path, weights_only=True)) for path in sorted(tmp_path.glob("rank*.pt"))]
    assert len(ranks) == 2
    assert ranks[0].logs == ranks[1].logs and len(ranks[0].logs) == 2
    assert not torch.equal(ranks[0].seen[0]["scores"], ranks[1].seen[0]["scores"])
    for number, logged in enumerate(ranks[0].logs):
        # A log comes every two steps, each of which accumulates two passes of eight captures.
        seen = [batch for rank in ranks for batch in rank.seen[4 * number : 4 * number + 4]]
        scores, types = (torch.cat([batch[name] for batch in seen]).numpy() for name in ("scores", "labels"))
        assert len(scores) == 2 * 2 * 2 * 8
        kinds = np.array(["", "print", "replay"])[types]
        expected = presentation_attack_metrics(scores, (types == 0).astype(int), kinds)
        assert {name: logged[name] for name in RATES} == pytest.approx({name: expected[name] for name in RATES})
        for part in ("classification", "similarity"):
            mean = np.mean([batch[part] for batch in seen])
            assert logged[f"loss_{part}"] == pytest.approx(mean, rel=1e-4)
        # Two views and weights of one; transformers 4.57 rounds what it logs to four digits.
        total = 2 * logged["loss_classification"] + logged["loss_similarity"]
        assert logged["loss"] == pytest.approx(total, abs=1e-3)
