"""The Trainer: metrics by set and pooled, their order and names, the best checkpoint, and learning itself."""

import json
import os
import shutil

import datasets
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import EarlyStoppingCallback

from patchnet_hf import PatchNetConfig, PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.data.schema import capture_features
from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.checks import remove_leftovers
from patchnet_hf.training.network import build_model
from patchnet_hf.training.pretrained import load_pretrained_backbone
from patchnet_hf.training.run import train
from patchnet_hf.training.trainer import PatchNetTrainer

PATCH_TYPES = ["phone/live", "phone/print", "phone/replay"]
ATTACKS = ["bonafide", "print", "replay"]


def captures(count: int, seed: int) -> datasets.Dataset:
    """Three patch types with textures that a network tells apart quickly: noise, stripes along x, stripes along y."""
    import cv2

    random = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    images = []
    for kind in kinds:
        image = random.normal(128, 20, (48, 48, 3))
        stripes = 25 * (np.arange(48) % 4 < 2)
        image += [0, stripes[None, :, None], stripes[:, None, None] * 2 - 25][kind]
        images.append({"bytes": cv2.imencode(".png", image.clip(0, 255).astype(np.uint8))[1].tobytes(), "path": None})
    columns = {
        "image": images,
        "label": [int(kind == 0) for kind in kinds],
        "patch_type": kinds.tolist(),
        "attack_type": [ATTACKS[kind] for kind in kinds],
        "source": ["test"] * count,
        **{name: [None] * count for name in ("subject", "session", "video", "device", "face_box")},
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(PATCH_TYPES))


def small_trainer(folder, train_count=24, epochs=1, **options) -> PatchNetTrainer:
    torch.manual_seed(0)
    config = PatchNetConfig(patch_types=PATCH_TYPES, live_patch_types=["phone/live"], image_size=32)
    arguments = PatchNetTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        report_to="none",
        per_device_train_batch_size=8,
        per_device_eval_batch_size=5,
        disable_tqdm=True,
        learning_rate=1e-3,
        precision="float32",
        use_cpu=True,
        **options,
    )
    return PatchNetTrainer(
        model=PatchNetForImageClassification(config),
        args=arguments,
        train_dataset=captures(train_count, 0),
        eval_dataset={"near": captures(13, 1), "far": captures(8, 2)},
        processing_class=PatchNetImageProcessor(patch_size=32, grid=2),
    )


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    trainer = small_trainer(tmp_path_factory.mktemp("run"))
    return trainer, trainer.evaluate()


def test_every_set_is_reported_under_its_name_and_all_are_pooled_as_total(evaluated):
    _, metrics = evaluated
    for name, images in (("near", 13), ("far", 8), ("total", 21)):
        assert metrics[f"eval_{name}_images"] == images
        for number in ("acer", "apcer", "bpcer", "eer", "auc", "loss", "apcer_type_print", "apcer_type_replay"):
            assert f"eval_{name}_{number}" in metrics


def test_scores_stand_in_the_order_of_the_set_and_pooling_is_over_captures(evaluated):
    trainer, metrics = evaluated
    processor = trainer.processing_class
    far = captures(8, 2)
    with torch.no_grad():
        logits = trainer.model.eval()(**processor(list(far["image"]), return_tensors="pt")).logits
    scored = trainer.scored["eval_far"]
    np.testing.assert_allclose(scored.scores, (logits[:, 1] - logits[:, 0]).numpy(), atol=1e-4)
    assert scored.labels.tolist() == far["label"] and scored.attack_types == far["attack_type"]
    near = trainer.scored["eval_near"]
    scores, labels = np.concatenate([near.scores, scored.scores]), np.concatenate([near.labels, scored.labels])
    assert metrics["eval_total_auc"] == pytest.approx(roc_auc_score(labels, scores))
    accepted = scores >= 0
    kinds = np.array(near.attack_types + scored.attack_types)
    worst = max(accepted[kinds == kind].mean() for kind in ("print", "replay"))
    rejected = (~accepted[labels == 1]).mean()
    assert metrics["eval_total_acer"] == pytest.approx((worst + rejected) / 2)


def test_the_loss_of_a_set_is_the_log_loss_of_its_live_probability(evaluated):
    trainer, metrics = evaluated
    near = trainer.scored["eval_near"]
    expected = np.mean(np.logaddexp(0, np.where(near.labels == 1, -near.scores, near.scores)))
    assert metrics["eval_near_loss"] == pytest.approx(expected)


def test_a_single_set_is_reported_without_a_name(evaluated):
    trainer, _ = evaluated
    metrics = trainer.evaluate(captures(6, 3))
    assert metrics["eval_images"] == 6 and "eval_total_acer" not in metrics


def test_a_set_called_total_is_refused(tmp_path):
    trainer = small_trainer(tmp_path)
    with pytest.raises(InputError, match="total"):
        PatchNetTrainer(
            trainer.model, trainer.args, eval_dataset={"total": 0}, processing_class=PatchNetImageProcessor()
        )


@pytest.mark.slow
def test_a_network_learns_and_the_best_checkpoint_is_the_one_with_the_lowest_total_acer(tmp_path):
    trainer = small_trainer(tmp_path, train_count=96, epochs=6, eval_strategy="epoch", logging_steps=4)
    trainer.train()
    history = [log["eval_total_acer"] for log in trainer.state.log_history if "eval_total_acer" in log]
    assert len(history) == 6
    assert trainer.state.best_metric == min(history)
    final = trainer.evaluate()
    assert final["eval_total_acer"] == pytest.approx(min(history), abs=1e-9)
    assert final["eval_total_auc"] > 0.95
    assert min(history) < 0.2


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, run_processes):
    """What two real processes ended with, over gloo on the CPU."""
    folder = tmp_path_factory.mktemp("two")
    run_processes("two_processes.py", folder)
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_end_with_equal_parameters_and_different_captures(two_processes):
    _, (first, second) = two_processes
    assert first["world_size"] == second["world_size"] == 2
    assert all(torch.equal(value, second["parameters"][name]) for name, value in first["parameters"].items())
    assert not set(first["drawn"].tolist()) & set(second["drawn"].tolist())


@pytest.mark.slow
def test_under_two_processes_each_epoch_draws_every_capture_anew(two_processes):
    _, ranks = two_processes
    half = len(ranks[0]["drawn"]) // 2
    halves = (slice(half), slice(half, None))
    epochs = [set(torch.cat([rank["drawn"][part] for rank in ranks]).tolist()) for part in halves]
    assert [len(epoch) for epoch in epochs] == [32, 32]
    assert not epochs[0] & epochs[1], "the views of the second epoch are other ones"


@pytest.mark.slow
def test_two_processes_score_sets_that_do_not_divide_in_their_order(two_processes, tmp_path):
    folder, (first, second) = two_processes
    assert first["images"] == second["images"] == 21
    alone = small_trainer(tmp_path)
    alone.model.load_state_dict(PatchNetForImageClassification.from_pretrained(folder / "model").state_dict())
    alone.evaluate()
    for name, part in alone.scored.items():
        assert torch.equal(first["scores"][name], second["scores"][name]), "both processes know all scores"
        # Both processes have scored with the batch-norm statistics of process 0, those that are saved.
        np.testing.assert_allclose(first["scores"][name], part.scores, atol=1e-3)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    undisturbed = small_trainer(tmp_path / "one", epochs=2, save_total_limit=None, load_best_model_at_end=False)
    undisturbed.train()
    shutil.copytree(tmp_path / "one" / "checkpoint-3", tmp_path / "two" / "checkpoint-3")
    resumed = small_trainer(tmp_path / "two", epochs=2, save_total_limit=None, load_best_model_at_end=False)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 6
    expected = undisturbed.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())


@pytest.mark.slow
def test_early_stopping_sees_the_pooled_metrics(tmp_path):
    trainer = small_trainer(tmp_path, epochs=4, eval_strategy="epoch", metric_for_best_model="eval_total_images")
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=1))
    trainer.train()
    assert trainer.state.epoch == 2, "a number that can't improve stops the run after the second evaluation"


def test_predicting_scores_a_dataset_of_captures(evaluated):
    trainer, _ = evaluated
    logits, _, metrics = trainer.predict(captures(8, 2))
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], trainer.scored["eval_far"].scores, atol=1e-4)
    assert metrics["test_images"] == 8


@pytest.fixture
def dataset_folder(tmp_path):
    folder = tmp_path / "data"
    datasets.DatasetDict({"train": captures(24, 0), "val": captures(9, 1)}).save_to_disk(folder)
    return folder


def arguments_of(tmp_path, dataset_folder, model=None, data=None, **options):
    defaults = {"num_train_epochs": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    return (
        ModelArguments(**(model or {})),
        DataArguments(**{"dataset": str(dataset_folder), "patch_size": 32, "grid": 1, **(data or {})}),
        PatchNetTrainingArguments(output_dir=str(tmp_path / "out"), **{**defaults, **options}),
    )


@pytest.mark.slow
def test_a_run_leaves_a_model_metrics_and_nothing_that_is_not_json(tmp_path, dataset_folder, capsys):
    metrics = train(*arguments_of(tmp_path, dataset_folder))
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert saved["eval_val_acer"] == metrics["eval_val_acer"] and "train_runtime" in saved
    assert "APCER print %" in capsys.readouterr().out
    model = PatchNetForImageClassification.from_pretrained(tmp_path / "out")
    assert model.config.patch_types == PATCH_TYPES and model.config.live_patch_types == ["phone/live"]
    with pytest.raises(InputError, match="already holds a run"):
        train(*arguments_of(tmp_path, dataset_folder))
    before = [path.name for path in (tmp_path / "out").glob("checkpoint-*")]
    (tmp_path / "out" / "runs" / "old").mkdir(parents=True)
    (tmp_path / "out" / "metrics.csv").write_text("of the old run")
    train(*arguments_of(tmp_path, dataset_folder, overwrite=True, per_device_train_batch_size=6))
    after = [path.name for path in (tmp_path / "out").glob("checkpoint-*")]
    assert (before, after) == (["checkpoint-3"], ["checkpoint-4"]), "no checkpoint of the first run is left"
    assert (
        not (tmp_path / "out" / "runs").exists()
        and "of the old run" not in (tmp_path / "out" / "metrics.csv").read_text()
    )


@pytest.mark.parametrize(("overwrite", "resumed"), [(True, False), (False, True), (True, True)])
def test_a_model_that_is_trained_anew_loses_what_its_calibration_wrote(tmp_path, overwrite, resumed):
    for name in ("calibration.json", "reliability.png", "metrics.csv"):
        (tmp_path / name).touch()
    arguments = PatchNetTrainingArguments(output_dir=str(tmp_path), overwrite=overwrite)
    remove_leftovers(arguments, tmp_path / "checkpoint-1" if resumed else None)
    assert [path.name for path in tmp_path.iterdir()] == (["metrics.csv"] if resumed else [])


@pytest.mark.slow
@pytest.mark.parametrize("bar", [True, False])
def test_a_run_says_its_losses_and_rates_with_and_without_a_progress_bar(tmp_path, dataset_folder, capsys, bar):
    options = {"model": {"backbone": "test_resnet"}, "logging_steps": 1, "disable_tqdm": not bar}
    train(*arguments_of(tmp_path, dataset_folder, **options))
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).replace("\r", "\n").splitlines()
    assert len([line for line in lines if "  loss " in line]) == 3
    assert len([line for line in lines if "val: ACER" in line]) == 1
    assert not [line for line in lines if "total: " in line], "the pool of one set is that set"
    assert len([line for line in lines if "best so far: ACER" in line]) == 1


@pytest.mark.slow
def test_a_run_without_evaluation_sets_trains_and_saves(tmp_path, dataset_folder):
    metrics = train(*arguments_of(tmp_path, None, data={"dataset": None, "train": [f"{dataset_folder}:train"]}))
    assert "train_loss" in metrics and (tmp_path / "out" / "model.safetensors").is_file()


def test_a_training_that_diverges_is_said_in_one_line(tmp_path, dataset_folder):
    options = {"model": {"backbone": "test_resnet"}, "learning_rate": 1e30, "optim": "sgd", "max_grad_norm": 0}
    with pytest.raises(InputError, match=r"9 of 9 scores of eval_val .* diverged"):
        train(*arguments_of(tmp_path, dataset_folder, precision="float32", **options))


@pytest.mark.parametrize(("label", "message"), [(1, "no attacks"), (0, "no live captures")])
def test_a_training_set_of_one_class_is_refused_before_anything_is_written(tmp_path, label, message):
    only = captures(24, 0).filter(lambda row: row["label"] == label)
    datasets.DatasetDict({"train": only}).save_to_disk(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        train(*arguments_of(tmp_path, tmp_path / "data"))
    assert not (tmp_path / "out").exists()


def test_resuming_from_a_folder_that_is_no_checkpoint_is_refused_before_anything_is_written(tmp_path, dataset_folder):
    with pytest.raises(InputError, match="gone is no checkpoint"):
        train(*arguments_of(tmp_path, dataset_folder, resume_from_checkpoint="gone"))
    assert not (tmp_path / "out").exists()


def test_a_finished_model_without_checkpoints_is_not_trained_over_by_resuming(tmp_path, dataset_folder):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="already holds a run"):
        train(*arguments_of(tmp_path, dataset_folder, resume_from_checkpoint="true"))


@pytest.mark.parametrize("metric", ["eval_vall_acer", "eval_val_accer", "val_acerr"])
def test_a_best_metric_of_no_evaluation_set_is_refused_before_anything_is_written(tmp_path, dataset_folder, metric):
    with pytest.raises(InputError, match=r"did you mean .*eval_val_acer"):
        train(*arguments_of(tmp_path, dataset_folder, metric_for_best_model=metric))
    assert not (tmp_path / "out").exists()


def test_attack_types_of_one_name_in_reports_are_refused_before_anything_is_written(tmp_path):
    types = iter(["a b", "a/b"] * 12)
    clashing = captures(24, 0).map(lambda row: {"attack_type": "bonafide" if row["label"] else next(types)})
    datasets.DatasetDict({"train": captures(24, 0), "val": clashing}).save_to_disk(tmp_path / "data")
    with pytest.raises(InputError, match="apcer_type_a_b"):
        train(*arguments_of(tmp_path, tmp_path / "data"))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_its_optimiser_cannot_be_resumed(tmp_path, dataset_folder):
    checkpoint = tmp_path / "out" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    for resume in ("true", str(checkpoint)):
        with pytest.raises(InputError, match="no optimiser state"):
            train(*arguments_of(tmp_path, dataset_folder, resume_from_checkpoint=resume))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vit_tiny_patch16_224"}, "doesn't take patches of 32 pixels .*img_size"),
        ({"embedding_size": -1}, "embedding_size is -1"),
        ({"dropout": 1.5}, r"dropout is 1\.5"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_anything_is_written(tmp_path, dataset_folder, options, message):
    with pytest.raises(InputError, match=message):
        train(*arguments_of(tmp_path, dataset_folder, model=options))
    assert not (tmp_path / "out").exists()


def test_an_unknown_backbone_is_refused_before_anything_is_written(tmp_path, dataset_folder):
    with pytest.raises(InputError, match="did you mean resnet18"):
        train(*arguments_of(tmp_path, dataset_folder, model={"backbone": "resnet_18"}))
    assert not (tmp_path / "out").exists()


def test_pretrained_weights_that_cannot_be_had_are_one_line():
    network = build_model(ModelArguments(backbone="resnet10t"), 32, PATCH_TYPES, ["phone/live"])
    with pytest.raises(InputError, match="no pretrained weights for backbone 'resnet10t'") as error:
        load_pretrained_backbone(network)
    assert "\n" not in str(error.value)


def test_views_stay_bytes_until_they_are_on_the_device(tmp_path):
    trainer = small_trainer(tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["pixel_values"].shape == (8, 2, 32, 32, 3) and batch["pixel_values"].dtype == torch.uint8
    prepared = trainer._prepare_inputs(dict(batch))["pixel_values"]
    assert prepared.shape == (8, 2, 3, 32, 32)
    assert torch.equal(prepared, trainer.processing_class.normalize_views(batch["pixel_values"]))
    assert torch.equal(trainer._prepare_inputs({**batch, "pixel_values": prepared})["pixel_values"], prepared)


def test_workers_of_training_captures_outlast_epochs_and_those_of_evaluation_sets_do_not(tmp_path):
    trainer = small_trainer(tmp_path, dataloader_num_workers=1)
    loaders = [trainer.get_train_dataloader(), trainer.get_eval_dataloader("near")]
    assert [bool(loader.persistent_workers) for loader in loaders] == [True, False]
    assert trainer.args.dataloader_persistent_workers is None
    for options in ({}, {"dataloader_num_workers": 1, "dataloader_persistent_workers": False}):
        assert not small_trainer(tmp_path, **options).get_train_dataloader().persistent_workers


def test_views_differ_from_epoch_to_epoch_in_the_same_worker(tmp_path):
    trainer = small_trainer(tmp_path, train_count=8, epochs=3, dataloader_num_workers=1, eval_strategy="no",
                            save_strategy="no", load_best_model_at_end=False)  # fmt: skip
    seen, alone = [], []
    step = trainer.training_step
    trainer.training_step = lambda model, inputs, *rest: (
        seen.append(inputs["pixel_values"]) or step(model, inputs, *rest)
    )
    trainer.train()
    views = trainer.train_dataset
    for epoch in range(3):
        views.set_epoch(epoch)
        alone.append({views[index]["pixel_values"].tobytes() for index in range(8)})
    assert [{view.numpy().tobytes() for view in batch} for batch in seen] == alone
    assert alone[0] != alone[1] != alone[2]


def test_one_loss_that_is_not_a_number_is_in_one_log_alone(tmp_path):
    trainer = small_trainer(tmp_path, logging_steps=1, eval_strategy="no", save_strategy="no",
                            load_best_model_at_end=False)  # fmt: skip
    compute, losses = trainer.compute_loss, []

    def compute_loss(model, inputs, **options):
        losses.append(compute(model, inputs, **options))
        return losses[-1] + (float("nan") if len(losses) == 2 else 0) * losses[-1].detach()

    trainer.compute_loss = compute_loss
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0)
    trainer.train()
    logged = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert [np.isfinite(loss) for loss in logged] == [True, False, True]


def test_data_workers_are_in_a_process_group_of_their_own(tmp_path, monkeypatch):
    trainer = small_trainer(tmp_path, dataloader_num_workers=1)
    item = type(trainer.train_dataset).__getitem__
    monkeypatch.setattr(
        type(trainer.train_dataset), "__getitem__", lambda self, index: {**item(self, index), "labels": os.getpgid(0)}
    )
    groups = next(iter(trainer.get_train_dataloader()))["labels"].tolist()
    assert len(set(groups)) == 1 and groups[0] != os.getpgid(0)
