"""Datasets of the data contract by the names that a command line or YAML gives them."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import datasets
import numpy as np

from ..errors import InputError, did_you_mean
from .filters import CaptureFilter, filter_captures
from .schema import check_schema

TRAIN_SPLIT = "train"


def load_captures(folder: str) -> datasets.DatasetDict:
    """All splits of a folder written by `scripts/convert_dataset.py`.

    Raises:
        InputError: the folder is missing, is no saved `DatasetDict`, can't be read, or lacks the contract's columns.
    """
    if not Path(folder).is_dir():
        raise InputError(f"dataset folder {folder} doesn't exist; scripts/convert_dataset.py makes one from CSV files")
    if (Path(folder) / "dataset_info.json").is_file():
        raise InputError(
            f"{folder} holds a single Dataset without splits; save it as one of them: "
            "DatasetDict(train=dataset).save_to_disk(DIR)"
        )
    if not (Path(folder) / "dataset_dict.json").is_file():
        raise InputError(
            f"{folder} holds no converted dataset (no dataset_dict.json); scripts/convert_dataset.py --csv {folder} "
            "--output DIR makes one from CSV files"
        )
    try:
        splits = datasets.load_from_disk(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds a dataset that can't be read: {' '.join(str(error).split())}") from error
    check_schema(splits, folder)
    return splits


def load_split(spec: str) -> tuple[str, datasets.Dataset]:
    """The split that `DIR:SPLIT` or, where there is but one, `DIR` stands for, with its name.

    Raises:
        InputError: as for [`load_captures`], or the folder has no such split, or several and none is named.
    """
    folder, name = spec, None
    if not Path(spec).exists() and ":" in spec:
        folder, name = spec.rsplit(":", 1)
    splits = load_captures(folder)
    if name is None and len(splits) > 1:
        raise InputError(f"{folder} has splits {', '.join(splits)}; name one of them as {folder}:SPLIT")
    name = next(iter(splits)) if name is None else name
    if name not in splits:
        raise InputError(f"{folder} has no split {name!r} but {', '.join(splits)}{did_you_mean(name, splits)}")
    return name, splits[name]


def unite_captures(parts: list[datasets.Dataset]) -> datasets.Dataset:
    """All parts one after the other, their patch types united by name; no capture is copied."""
    if len(parts) == 1:
        return parts[0]
    if len({tuple(part.features["patch_type"].names) for part in parts}) == 1:
        return datasets.concatenate_datasets(parts)
    names = sorted({name for part in parts for name in part.features["patch_type"].names})
    united = datasets.ClassLabel(names=names)
    renumbered = []
    for part in parts:
        ids = np.array([names.index(name) for name in part.features["patch_type"].names])
        column = ids[np.asarray(part["patch_type"][:])]
        renumbered.append(part.remove_columns("patch_type").add_column("patch_type", column, feature=united))
    return datasets.concatenate_datasets(renumbered)


def load_training_and_evaluation_sets(
    dataset: str | None,
    train: list[str] | None,
    evaluation: list[str] | None,
    train_filter: CaptureFilter | None = None,
    eval_filter: CaptureFilter | None = None,
) -> tuple[datasets.Dataset, dict[str, datasets.Dataset]]:
    """
    What a run trains on, and its evaluation sets by name.

    Args:
        dataset: a folder whose split `train` is trained on, all others evaluated.
        train: instead, or to replace its `train`: list of `DIR[:SPLIT]`.
        evaluation: instead, or to replace its other splits: list of `DIR[:SPLIT]`. Sets of the same name are told
            apart by their folder.
        train_filter: which captures are trained on; by default all.
        eval_filter: which captures of the evaluation sets are evaluated; a set of which none is chosen is left out.

    Raises:
        InputError: nothing to train on, a missing folder or split, two equal evaluation sets, or a filter that fits
            no capture.
    """
    training, sets = load_all_sets(dataset, train, evaluation)
    if train_filter is not None:
        (training,) = filter_captures({TRAIN_SPLIT: training}, train_filter, "train_filter").values()
    if eval_filter is not None:
        if not sets:
            raise InputError("eval_filter is given, but there is no evaluation set; give --eval DIR:SPLIT")
        sets = filter_captures(sets, eval_filter, "eval_filter")
    return training, sets


def load_all_sets(
    dataset: str | None, train: list[str] | None, evaluation: list[str] | None
) -> tuple[datasets.Dataset, dict[str, datasets.Dataset]]:
    """[`load_training_and_evaluation_sets`] with all their captures."""
    if dataset is None and not train:
        raise InputError("nothing to train on: give --dataset DIR, or --train DIR:SPLIT (and --eval DIR:SPLIT)")
    splits = load_captures(dataset) if dataset is not None else {}
    if train:
        training = unite_captures([load_split(spec)[1] for spec in train])
    elif TRAIN_SPLIT in splits:
        training = splits[TRAIN_SPLIT]
    else:
        raise InputError(f"{dataset} has no split {TRAIN_SPLIT!r} but {', '.join(splits)}; give --train DIR:SPLIT")
    if not evaluation:
        return training, {name: part for name, part in splits.items() if name != TRAIN_SPLIT}
    return training, load_splits(evaluation, "evaluation set")


def load_splits(specs: Sequence[str], noun: str = "set") -> dict[str, datasets.Dataset]:
    """
    Splits by name; those of the same name are told apart by as much of their folders as it takes.

    Args:
        specs: `DIR[:SPLIT]` each.
        noun: what a message calls one of them.

    Raises:
        InputError: a missing folder or split, or one that is given twice.
    """
    loaded = [(spec, *load_split(spec)) for spec in specs]
    splits = [name for _, name, _ in loaded]
    folders = [PurePath(spec.removesuffix(f":{name}")).parts for spec, name, _ in loaded]
    names = splits
    # As few parts of the folders as tell the sets apart.
    for depth in range(1, max(map(len, folders), default=0) + 1):
        if len(set(names)) == len(names):
            break
        names = [
            name if splits.count(name) == 1 else "_".join([*(part.strip("/") for part in folder[-depth:]), name])
            for name, folder in zip(splits, folders, strict=True)
        ]
    for number, (spec, name) in enumerate(zip(specs, names, strict=True)):
        if name in names[:number]:
            raise InputError(f"{specs[names.index(name)]} and {spec} are the same {noun}; leave one of them out")
    return {name: part for name, (_, _, part) in zip(names, loaded, strict=True)}
