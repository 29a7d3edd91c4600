"""A `config.yaml` becomes options of scripts/train.py: every value is carried over, or named with a reason."""

import re

import pytest
import yaml

from patchnet_hf.errors import InputError
from patchnet_hf.legacy.configuration import flattened, read_configuration
from patchnet_hf.legacy.training_file import training_file
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.network import build_processor

ORIGINAL = """
output_dir: 'runs/save'
log_dir: 'runs/logs'
device: 'cuda:2'
seed: 42
dataset:
  name: 'zalo'
  root: '/data/frames'
  augmentation:
    rand_crop_size: 224
    rand_hori_flip: 0.5
    rand_rotation: 20
  train_set: 'train_uniform.csv'
  val_set: 'val_uniform.csv'
  mean: [0.5070, 0.4764, 0.4551]
  sigma: [0.2480, 0.2468, 0.2416]
model:
  base: 'swin_base'
  pretrained: True
  image_size: [300, 300]
train:
  batch_size: 16
  optimizer: 'adam'
  lr: 0.002
  num_epochs: 300
val:
  batch_size: 16
"""


def options_of(path, tmp_path, features=12):
    """The options that the training YAML of a configuration gives scripts/train.py, and the YAML's text."""
    configuration = read_configuration(path)
    file = training_file(configuration, features)
    written = tmp_path / "training.yaml"
    written.write_text(file.text(configuration.origin, str(path), "outputs/converted"))
    parser = RunParser([ModelArguments, DataArguments, PatchNetTrainingArguments])
    values = {}
    for part in parser.parse_run(["--config", str(written)]):
        values.update(vars(part))
    return values, file, written.read_text()


def test_values_are_carried_over(reference, tmp_path):
    config = reference.write_config(
        tmp_path / "config.yaml", "fastvit_t8", loss={"alpha1": 3.0, "alpha2": 2.0, "s": 20}
    )
    values, _, _ = options_of(config, tmp_path)
    assert values["backbone"] == "fastvit_t8" and values["backbone_kwargs"] == {"proj_drop_rate": 0.1}
    assert (values["embedding_size"], values["drop_path_rate"], values["dropout"]) == (12, 0.05, 0)
    assert (values["scale"], values["margin_live"], values["margin_spoof"]) == (20, 0.4, 0.1)
    # The reference's similarity loss is a mean over 12 numbers, ours their sum.
    assert (values["similarity_weight"], values["classification_weight"]) == (0.25, 2)
    assert (values["recipe"], values["resampling"], values["resize_size"], values["patch_size"]) == (
        "resize", "area", 72, 64
    )  # fmt: skip
    assert (values["optim"], values["learning_rate"], values["weight_decay"]) == ("adamw", 0.0002, 5e-5)
    assert values["lr_scheduler_type"] == "cosine_warm_restarts"
    assert values["lr_scheduler_kwargs"] == {"T_0": 10, "T_mult": 2, "eta_min": 1e-16}
    assert (values["num_train_epochs"], values["seed"], values["balance"]) == (3, 42, "label")
    assert (values["per_device_train_batch_size"], values["per_device_eval_batch_size"]) == (6, 8)
    assert (values["max_grad_norm"], values["decay_norms_and_biases"], values["eval_on_start"]) == (0, True, False)
    assert values["output_dir"] == "logs/fastvit_t8" and values["dataset"] == "data/spoofing_combined_2023"
    assert values["telegram"] is False and values["ddp_timeout"] == 2400


@pytest.mark.parametrize("base", ["efficientformerv2_l", "fastvit_s12", "resnet18", "swin_base"])
def test_every_key_is_carried_over_or_named_with_a_reason(reference, tmp_path, base):
    config = reference.write_config(tmp_path / "config.yaml", base)
    _, file, text = options_of(config, tmp_path)
    keys = set(flattened(reference.config_of(base)))
    assert set(file.carried) | set(file.dropped) == keys
    assert not set(file.carried) & set(file.dropped)
    named = re.findall(r"^# ([\w.]+): .* - \S+", text, flags=re.MULTILINE)
    assert set(named) == set(file.dropped)
    assert {"dataset.augmentation", "dataset.smoothing", "test_inference_speed"} <= set(named)


def test_the_image_processor_of_such_a_training_is_that_of_a_converted_model(reference, tmp_path):
    config = reference.write_config(tmp_path / "config.yaml", "resnet18")
    values, _, _ = options_of(config, tmp_path)
    names = ("recipe", "patch_size", "resize_size", "resampling")
    processor = build_processor(DataArguments(**{name: values[name] for name in names}))
    assert (processor.mode, processor.patch_size, processor.resize_size) == ("resize", 64, 72)
    assert processor.resampling == "area" and processor.image_mean == [0.485, 0.456, 0.406]


def test_what_a_network_has_by_itself_is_said(reference, tmp_path):
    config = reference.write_config(tmp_path / "config.yaml", "efficientformerv2_l")
    values, file, _ = options_of(config, tmp_path)
    assert values["backbone_kwargs"] == {"img_size": 64, "proj_drop_rate": 0.1}
    assert values["drop_path_rate"] == 0.1
    assert "doesn't pass it to efficientformerv2_l" in file.dropped["model.drop_path_rate"][1]
    values, file, _ = options_of(reference.write_config(tmp_path / "config.yaml", "resnet18"), tmp_path)
    assert values["embedding_size"] is None and values["backbone_kwargs"] is None
    assert "are the descriptor" in file.dropped["model.descriptor_size"][1]


@pytest.mark.parametrize(
    ("name", "sizes", "file", "reason"),
    [
        ("medium2", (232, 224), "configs/augmentation/medium2.json", None),
        ("strong3", (232, 224), "configs/augmentation/strong3.json", None),
        ("strong3", (300, 224), None, "copy it and change these numbers"),
        ("my_own", (232, 224), None, "write its transforms as docs/augmentation.md tells"),
    ],
)
def test_augmentations_of_the_reference_are_files_here(reference, project, tmp_path, name, sizes, file, reason):
    changes = {"augmentation": name, "resize_size": sizes[0], "crop_size": sizes[1]}
    config = reference.write_config(tmp_path / "config.yaml", "fastvit_t8", dataset=changes)
    values, training, _ = options_of(config, tmp_path)
    assert values["augmentation"] == file
    if file is None:
        assert reason in training.dropped["dataset.augmentation"][1]
    else:
        assert "dataset.augmentation" in training.carried and (project / file).is_file()


def test_lists_become_the_command_that_converts_them(reference, tmp_path):
    config = reference.write_config(tmp_path / "config.yaml", "resnet18")
    _, file, text = options_of(config, tmp_path)
    assert file.command == (
        "python scripts/convert_dataset.py --csv train=datasets/spoofing/ds1_train/markup.csv "
        "train=datasets/spoofing/ds2_train/ spoofing_ds1_val=datasets/spoofing/ds1_val/markup.csv "
        "spoofing_ds2_val=datasets/spoofing/ds2_val/ --output data/spoofing_combined_2023"
    )
    assert f"#   {file.command}\n" in text
    assert "uses it nowhere" in file.dropped["dataset.root"][1]


def test_sets_of_one_name_stay_apart(reference, tmp_path):
    sets = {"train_set": ["a/train"], "val_set": ["x/b/c", "y/b/c/", "train"]}
    config = reference.write_config(tmp_path / "config.yaml", "resnet18", dataset=sets)
    _, file, _ = options_of(config, tmp_path)
    assert file.conversion[2:6] == ["train=a/train", "b_c=x/b/c", "b_c_2=y/b/c/", "train_2=train"]


def test_names_as_they_were_at_first(reference, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    sets = {"train_set": "train_uniform.csv", "val_set": "val_uniform.csv", "root": "~/data sets/frames"}
    config = reference.write_config(tmp_path / "config.yaml", "resnet18", dataset=sets)
    _, file, _ = options_of(config, tmp_path)
    assert "'train=/home/someone/data sets/frames/train_uniform.csv'" in file.command
    assert "dataset.root" in file.carried


@pytest.mark.parametrize(
    ("changes", "option", "value", "dropped"),
    [
        ({"device_name": "cpu"}, "use_cpu", True, None),
        ({"device_name": "hpu"}, "backbone", "resnet18", ("device_name", "optimum-habana")),
        ({"train": {"optimizer": "amsgrad"}}, "optim", "amsgrad", None),
        ({"train": {"optimizer": "lion"}}, "optim", "adamw", ("train.optimizer", "no optimiser of the reference")),
        ({"train": {"scheduler_name": "exp"}}, "lr_scheduler_type", "constant", ("train.restart_epoch", "cosr")),
        ({"train": {"balanced_sampler": False}}, "balance", "none", None),
        ({"train": {"val_before_train": True}}, "eval_on_start", True, None),
        # YAML 1.1 reads this as text.
        ({"train": {"weight_decay": "1e-5"}}, "weight_decay", 1e-5, None),
        (
            {"dataset": {"augmentation": ["medium2"]}},
            "augmentation",
            None,
            ("dataset.augmentation", "none of medium2, strong3"),
        ),
        ({"train": {"warmup": 3}}, "backbone", "resnet18", ("train.warmup", "unknown: fas-patchnet has no such key")),
    ],
)
def test_single_values(reference, tmp_path, changes, option, value, dropped):
    config = reference.write_config(tmp_path / "config.yaml", "resnet18", **changes)
    values, file, _ = options_of(config, tmp_path)
    assert getattr(values[option], "value", values[option]) == value
    if dropped is not None:
        assert dropped[1] in file.dropped[dropped[0]][1]


def test_the_originals_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text(ORIGINAL)
    values, file, text = options_of(tmp_path / "config.yaml", tmp_path, 1024)
    assert values["backbone"] == "swin_base_patch4_window7_224" and values["pretrained_backbone"] is True
    assert (values["resize_size"], values["patch_size"], values["similarity_weight"]) == (300, 224, 1 / 1024)
    assert set(file.carried) | set(file.dropped) == set(flattened(yaml.safe_load(ORIGINAL)))
    assert "unknown" not in text
    assert "train=/data/frames/images/train_uniform.csv" in file.command and "put the lists into it" in text


def test_line_breaks_in_values_leave_the_file_whole(reference, tmp_path):
    changes = {
        "log_dir": "logs\nseed: 7",
        "dataset": {"name": "a\nb", "train_set": ["x\nlearning_rate: 9"], "augmentation": "odd\nwarmup_steps: 9"},
        "output_dir": "one\n\ntwo\u2028three",
    }
    config = reference.write_config(tmp_path / "config.yaml", "resnet18", **changes)
    values, _, text = options_of(config, tmp_path)
    assert (values["seed"], values["learning_rate"], values["warmup_steps"]) == (42, 0.0002, 0)
    assert values["output_dir"] == "logs\nseed: 7/resnet18"
    assert '# dataset.augmentation: "odd\\nwarmup_steps: 9" - none of' in text


@pytest.mark.parametrize("key", ["train_set", "val_set"])
@pytest.mark.parametrize("given", [5, None, [None, 3], [""], [["a"]]])
def test_lists_that_are_no_paths_are_refused(reference, tmp_path, key, given):
    config = reference.write_config(tmp_path / "config.yaml", "resnet18", dataset={key: given})
    with pytest.raises(InputError, match=rf"config\.yaml: dataset\.{key} is .*; expected paths of lists"):
        options_of(config, tmp_path)


def test_lists_by_name_are_dropped_with_the_reason(reference, tmp_path):
    config = reference.write_config(tmp_path / "config.yaml", "resnet18", dataset={"val_set": {"a": "b"}})
    _, file, _ = options_of(config, tmp_path)
    assert "unknown" in file.dropped["dataset.val_set.a"][1] and "dataset.val_set" not in file.carried
