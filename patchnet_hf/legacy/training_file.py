"""A `config.yaml` of the reference as a training YAML of ours, each value carried over or named with the reason."""

import math
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import yaml

from ..errors import InputError
from .checkpoint import FAS_PATCHNET, ORIGINAL
from .configuration import LegacyConfiguration

# Keys that are options here under another name.
RENAMED = {
    "seed": "seed",
    "dist_timeout": "ddp_timeout",
    "telegram_reports": "telegram",
    "dataset.num_workers": "dataloader_num_workers",
    "model.pretrained": "pretrained_backbone",
    "train.val_before_train": "eval_on_start",
}
NUMBERS = {
    "train.lr": "learning_rate",
    "train.weight_decay": "weight_decay",
    "loss.s": "scale",
    "loss.m_l": "margin_live",
    "loss.m_s": "margin_spoof",
    "loss.alpha2": "classification_weight",
}
WHOLE_NUMBERS = {
    "train.num_epochs": "num_train_epochs",
    "train.batch_size": "per_device_train_batch_size",
    "val.batch_size": "per_device_eval_batch_size",
}
# Keys that have no counterpart.
DROPPED = {
    "test_inference_speed": "scripts/benchmark.py measures parameters, multiply-adds and times",
    "dataset.smoothing": "the reference reads it and uses it nowhere",
    "dataset.num_workers_val": "dataloader_num_workers is for training and evaluation alike",
    "model.checkpoint_path": "init_from: FOLDER starts from the weights of a converted checkpoint",
    "model.resume": "resume_from_checkpoint: true goes on with a run of this project, not with one of the reference",
    "model.resume_strict": "strict: false belongs to init_from, which isn't set here",
    "train.load_optimizer": "the states of the reference's optimiser belong to its own names of parameters",
    "train.load_scheduler": "the state of the reference's schedule belongs to its own optimiser",
    "output_dir": "output_dir below",
    "dataset.mean": "training here normalises by ImageNet's mean",
    "dataset.sigma": "training here normalises by ImageNet's standard deviation",
    "dataset.augmentation.rand_hori_flip": "the recipe resize mirrors every second view",
    "dataset.augmentation.rand_rotation": "no rotation by odd angles in the recipe resize",
}
# The reference's augmentations and what they are here, for faces resized and cropped to these sizes.
AUGMENTATIONS = {name: f"configs/augmentation/{name}.json" for name in ("medium2", "strong3")}
AUGMENTED_SIZES = (232, 224)
OPTIMIZERS = ("adam", "adamw", "amsgrad", "sgd", "rmsprop")


@dataclass
class TrainingFile:
    """
    A training YAML in the making.

    Attributes:
        options: name to value and to what is said beside it.
        carried: keys of the reference whose value is among the options.
        dropped: keys of the reference to value and reason.
        conversion: the command that makes the Arrow dataset, in parts.
    """

    options: dict[str, tuple[object, str]] = field(default_factory=dict)
    carried: list[str] = field(default_factory=list)
    dropped: dict[str, tuple[object, str]] = field(default_factory=dict)
    conversion: list[str] = field(default_factory=list)

    def carry(self, key: str, option: str, value, note: str = ""):
        """Takes a key over as an option."""
        self.options[option] = (value, f"{key}{f': {note}' if note else ''}")
        if key not in self.carried:
            self.carried.append(key)

    def drop(self, key: str, value, reason: str):
        """Names a key that isn't taken over."""
        self.dropped[key] = (value, reason)

    def fix(self, option: str, value, note: str):
        """Sets an option that the reference has in its code instead of its configuration."""
        self.options[option] = (value, note)

    @property
    def command(self) -> str:
        """The command that makes the Arrow dataset, or `""` where the configuration names no lists."""
        return shlex.join(["python", *self.conversion]) if self.conversion else ""

    def text(self, origin: str, path: str, folder: str) -> str:
        """The YAML, with comments.

        Args:
            origin, path: of the configuration.
            folder: of the converted model.
        """
        lines = [
            f"# Made from {comment(path)} of {origin}. What stands behind # is the key that a value is from.",
            "#",
        ]
        if self.command:
            lines += ["# First the lists become an Arrow dataset:", f"#   {comment(self.command)}"]
            if origin == ORIGINAL:
                lines.append("# There images lie in a folder `images` beside the lists: put the lists into it before.")
            lines.append("#")
        lines += [
            "# To start from the converted weights instead of pretrained ones (the backbone and its projection; patch",
            "# types of other names begin anew):",
            f"# init_from: {yaml_value(folder)}",
            "# strict: false",
            "",
        ]
        for option, (value, note) in self.options.items():
            lines.append(f"{option}: {yaml_value(value)}" + (f"  # {comment(note)}" if note else ""))
        if self.dropped:
            lines += ["", "# Not carried over:"]
            lines += [
                f"# {comment(key)}: {yaml_value(value)} - {comment(reason)}"
                for key, (value, reason) in self.dropped.items()
            ]
        return "\n".join(lines) + "\n"


def yaml_value(value) -> str:
    """
    A value in one line of YAML.

    >>> yaml_value({"T_0": 10, "eta_min": 1e-16}), yaml_value("a: b"), yaml_value(True), yaml_value(1.0)
    ('{T_0: 10, eta_min: 1.0e-16}', "'a: b'", 'true', '1.0')
    """
    # Without a limit of the width, or long texts would be folded.
    style = {"default_flow_style": True, "width": math.inf, "sort_keys": False, "allow_unicode": True}
    return yaml.dump(value, Dumper=_Dumper, **style).removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    """Texts with line breaks are in double quotes, where these are escaped."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        # YAML has more of them than "\n".
        return self.represent_scalar(
            "tag:yaml.org,2002:str", text, style='"' if len(f"{text}.".splitlines()) > 1 else None
        )


_Dumper.add_representer(str, _Dumper.represent_str)


def comment(text: str) -> str:
    """
    A text as a part of a comment, which ends with its line.

    >>> comment("two\\nlines")
    'two lines'
    """
    return " ".join(str(text).split())


def training_file(configuration: LegacyConfiguration, features: int) -> TrainingFile:
    """
    The training YAML for a configuration of the reference.

    Args:
        configuration: the reference's.
        features: size D of the descriptor, over which its similarity loss takes a mean.

    Raises:
        InputError: a value isn't what its key needs.
    """
    file, values = TrainingFile(), configuration.values
    _network(file, configuration, features)
    _views(file, configuration)
    _data(file, configuration)
    _schedule(file, configuration)
    for key, option in RENAMED.items():
        if key in values:
            value = values[key]
            file.carry(key, option, configuration.number(key) if isinstance(value, float) else value)
    for key, option in NUMBERS.items():
        if key in values:
            file.carry(key, option, configuration.number(key))
    for key, option in WHOLE_NUMBERS.items():
        if key in values:
            note = "of each process, as there" if key == "train.batch_size" else ""
            file.carry(key, option, configuration.whole(key), note)
    _run(file, configuration)
    for key, value in values.items():
        if key in DROPPED and key not in file.carried and key not in file.dropped:
            file.drop(key, value, DROPPED[key])
    for key, value in values.items():
        if key not in file.carried and key not in file.dropped:
            file.drop(key, value, f"unknown: {configuration.origin} has no such key")
    return file


def _network(file: TrainingFile, configuration: LegacyConfiguration, features: int):
    values, backbone = configuration.values, configuration.backbone
    file.carry("model.base", "backbone", backbone.timm)
    arguments = backbone.arguments((), configuration.crop_size)
    if "model.dropout" in values:
        rate = configuration.number("model.dropout")
        if backbone.dropout is None:
            file.drop("model.dropout", rate, f"the reference doesn't pass it to {configuration.base}")
        else:
            arguments |= {backbone.dropout: rate}
    if arguments:
        file.fix(
            "backbone_kwargs",
            arguments,
            "model.dropout, which works inside the network" if "model.dropout" in values else "",
        )
        if backbone.dropout in arguments:
            file.carried.append("model.dropout")
    if "model.drop_path_rate" in values and backbone.drop_path_rate is None:
        file.carry("model.drop_path_rate", "drop_path_rate", configuration.number("model.drop_path_rate"))
    else:
        if "model.drop_path_rate" in values:
            reason = f"the reference doesn't pass it to {configuration.base}"
            file.drop("model.drop_path_rate", values["model.drop_path_rate"], reason)
        if backbone.drop_path_rate:
            file.fix("drop_path_rate", backbone.drop_path_rate, f"what {configuration.base} has there by itself")
    if configuration.descriptor_size is not None:
        file.carry("model.descriptor_size", "embedding_size", configuration.descriptor_size)
    elif "model.descriptor_size" in values:
        reason = f"the features of {configuration.base} are the descriptor"
        file.drop("model.descriptor_size", values["model.descriptor_size"], reason)
    weight = configuration.number("loss.alpha1", 1.0) / features
    note = f"divided by {features}: there the mean over the descriptor, here the sum"
    if "loss.alpha1" in values:
        file.carry("loss.alpha1", "similarity_weight", weight, note)
    else:
        file.fix("similarity_weight", weight, f"1 {note}")


def _views(file: TrainingFile, configuration: LegacyConfiguration):
    file.fix("recipe", "resize", "the whole face, as there")
    if configuration.origin == FAS_PATCHNET:
        resized, cropped, how = "dataset.resize_size", "dataset.crop_size", "OpenCV's INTER_AREA there"
    else:
        resized, cropped, how = "model.image_size", "dataset.augmentation.rand_crop_size", "nearest to Pillow's there"
    file.carry(resized, "resize_size", configuration.resize_size)
    file.carry(cropped, "patch_size", configuration.crop_size)
    file.fix("resampling", "area", how)
    if "dataset.augmentation" in configuration.values:
        _augmentation(file, configuration)


def _augmentation(file: TrainingFile, configuration: LegacyConfiguration):
    name = configuration.values["dataset.augmentation"]
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        reason = f"none of {', '.join(AUGMENTATIONS)}: write its transforms as docs/augmentation.md tells"
    elif (configuration.resize_size, configuration.crop_size) != AUGMENTED_SIZES:
        resized, cropped = AUGMENTED_SIZES
        reason = f"{AUGMENTATIONS[name]} resizes to {resized} and crops {cropped}: copy it and change these numbers"
    else:
        file.carry("dataset.augmentation", "augmentation", AUGMENTATIONS[name], str(name))
        return
    file.drop("dataset.augmentation", name, reason)


def _data(file: TrainingFile, configuration: LegacyConfiguration):
    values = configuration.values
    name = re.sub(r"\W+", "_", str(values.get("dataset.name", "dataset"))).strip("_") or "dataset"
    dataset = f"data/{name}"
    file.fix("dataset", dataset, "its split train is trained on, every other is evaluated")
    root = str(values.get("dataset.root", ""))
    if configuration.origin == ORIGINAL:
        root = str(PurePosixPath(root, "images"))
    lists = {name: _lists(configuration, f"dataset.{name}_set", root) for name in ("train", "val")}
    for key in ("dataset.name", "dataset.root", "dataset.train_set", "dataset.val_set"):
        if key in values and (key != "dataset.root" or _is_used(values)):
            file.carried.append(key)
    if "dataset.root" in values and not _is_used(values):
        file.drop(
            "dataset.root", values["dataset.root"], "the reference uses it nowhere once its lists are given as paths"
        )
    given = [f"train={path}" for path in lists["train"]]
    names = {"train"}
    for path in lists["val"]:
        split = base = split_name(path)
        number = 2
        while split in names:
            split, number = f"{base}_{number}", number + 1
        names.add(split)
        given.append(f"{split}={path}")
    if given:
        file.conversion = ["scripts/convert_dataset.py", "--csv", *given, "--output", dataset]


def _is_used(values: dict) -> bool:
    """Whether the lists are names in `dataset.root`, as they were at first, instead of paths."""
    return isinstance(values.get("dataset.train_set"), str)


def _lists(configuration: LegacyConfiguration, key: str, root: str) -> list[str]:
    """Paths of the lists that a key names; of a key that isn't there none."""
    if key not in configuration.values:
        return []
    given = configuration.values[key]
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list) or not all(isinstance(path, str) and path.strip() for path in named):
        raise InputError(f"config {configuration.path}: {key} is {given!r}; expected paths of lists")
    # The shell doesn't expand a ~ that stands behind SPLIT=.
    if isinstance(given, str):
        return [os.path.expanduser(PurePosixPath(root, given))]
    return [os.path.expanduser(path) for path in named]


def split_name(path: str) -> str:
    """
    What the reference calls a validation set, as a name of a split.

    >>> split_name("datasets/spoofing/ds1_val/markup.csv"), split_name("datasets/spoofing/ds2_val/")
    ('spoofing_ds1_val', 'spoofing_ds2_val')
    >>> split_name("data/val_uniform.csv")
    'data_val_uniform'
    """
    found = PurePosixPath(path)
    if found.suffix == ".csv":
        found = found.parent if found.name == "markup.csv" else found.with_suffix("")
    return re.sub(r"\W+", "_", "_".join(found.parts[-2:])).strip("_") or "val"


def _schedule(file: TrainingFile, configuration: LegacyConfiguration):
    values = configuration.values
    if (optimizer := values.get("train.optimizer")) is not None:
        if str(optimizer) in OPTIMIZERS:
            note = "momentum and the like: optim_args" if optimizer in ("sgd", "rmsprop") else ""
            file.carry("train.optimizer", "optim", optimizer, note)
        else:
            file.drop("train.optimizer", optimizer, "no optimiser of the reference; adamw is set")
            file.fix("optim", "adamw", "")
    restarts = ("train.restart_epoch", "train.restart_multiplier")
    if values.get("train.scheduler_name") == "cosr":
        file.carry("train.scheduler_name", "lr_scheduler_type", "cosine_warm_restarts", "cosr")
        arguments = {
            "T_0": configuration.whole(restarts[0]), "T_mult": configuration.whole(restarts[1], 1), "eta_min": 1e-16
        }  # fmt: skip
        file.fix("lr_scheduler_kwargs", arguments, f"{', '.join(restarts)}; eta_min is in the code there")
        file.carried += [key for key in restarts if key in values]
        return
    if configuration.origin == ORIGINAL:
        file.fix("lr_scheduler_type", "constant", "there the rate halves every 90 epochs, which this version can't")
    else:
        file.fix("lr_scheduler_type", "constant", "the reference has no schedule but cosr")
    if "train.scheduler_name" in values:
        file.drop("train.scheduler_name", values["train.scheduler_name"], "the reference has no schedule but cosr")
    for key in restarts:
        if key in values:
            file.drop(key, values[key], "belongs to the schedule cosr")


def _run(file: TrainingFile, configuration: LegacyConfiguration):
    values = configuration.values
    key = "device_name" if "device_name" in values else "device"
    if key in values:
        device = str(values[key])
        if device == "cpu":
            file.carry(key, "use_cpu", True)
        else:
            kind = "accelerate launch" if device.startswith("cuda") else "accelerate launch with optimum-habana"
            file.drop(key, device, f"{kind} chooses devices; a GPU is used where there is one")
    if "train.balanced_sampler" in values:
        balanced = values["train.balanced_sampler"] is True
        note = "there on several GPUs alone" if balanced else ""
        file.carry("train.balanced_sampler", "balance", "label" if balanced else "none", note)
    folder = PurePosixPath(str(values.get("log_dir", "outputs")), configuration.base)
    if "log_dir" in values:
        file.carry("log_dir", "output_dir", str(folder))
    else:
        file.fix("output_dir", str(folder), "")
    file.fix("max_grad_norm", 0, "the reference doesn't clip gradients")
    file.fix("decay_norms_and_biases", True, "the reference decays every parameter")
    file.fix("precision", "float32", "as there; auto is faster")
    file.fix("metric_for_best_model", "eval_total_acer_pooled", "what the reference calls ACER")
