"""The one definition of an Arrow dataset of captures: its columns, their types and the values they default to."""

from collections.abc import Iterator, Mapping, Sequence

import datasets

from ..errors import InputError

LABELS = ("spoof", "live")
SPOOF, LIVE = range(len(LABELS))

BONA_FIDE = "bonafide"
"""`attack_type` of every bona fide presentation."""

DEFAULT_ATTACK_TYPE = "attack"
"""`attack_type` of an attack whose PAI species isn't known."""


def capture_features(patch_types: Sequence[str] = LABELS) -> datasets.Features:
    """The features of a dataset of captures, one row for each image.

    Args:
        patch_types: names of the patch types (device x material); the position of a name is its class id. All splits
            of one dataset, and all datasets trained on together, need the same list.

    Returns:
        `image` holds the file's original bytes, `label` is 0 (attack) or 1 (bona fide). `subject`, `session`, `video`
        and `device` may be null, and so may `face_box`: `[x, y, w, h]` as int32, in pixels of the image as it is seen
        (EXIF orientation applied).

    Raises:
        InputError: when `patch_types` is empty or names a type twice.

    >>> features = capture_features(["phone1/live", "phone1/print"])
    >>> features["patch_type"].str2int("phone1/print")
    1
    >>> features["label"].names
    ['spoof', 'live']
    """
    names = list(patch_types)
    if not names:
        raise InputError("no patch types: a dataset of captures needs at least one")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"patch types must be unique; named more than once: {', '.join(repeated)}")
    text = datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(LABELS)),
            "patch_type": datasets.ClassLabel(names=names),
            "attack_type": text,
            "source": text,
            "subject": text,
            "session": text,
            "video": text,
            "device": text,
            "face_box": datasets.List(datasets.Value("int32"), length=4),
        }
    )


def check_schema(dataset: datasets.Dataset | datasets.IterableDataset | datasets.DatasetDict, where: str) -> None:
    """Makes sure that `dataset` (every split of it) has the columns of :func:`capture_features`; more are welcome.

    Args:
        dataset: a dataset, or a dictionary of splits, whose patch types must then agree.
        where: how the user knows this dataset (a path, an argument), for the message.

    Raises:
        InputError: naming the columns that are missing or of another type, and what they should be.
    """
    patch_types: dict[str, list[str]] = {}
    for split, part in _splits(dataset):
        place = f"{where}, split {split}" if split else where
        features = part.features
        if features is None:
            raise InputError(f"{place}: the types of its columns aren't known; load it with features")
        expected = capture_features()
        missing = [name for name in expected if name not in features]
        if missing:
            raise InputError(
                f"{place}: not a dataset of captures: no column {', '.join(missing)} (it has: "
                f"{', '.join(features) or 'none'}); scripts/convert_dataset.py makes one from CSV files"
            )
        if not isinstance(features["image"], datasets.Image):
            raise InputError(f"{place}: column image is {features['image']}, expected Image()")
        label = features["label"]
        if not isinstance(label, datasets.ClassLabel) or tuple(label.names) != LABELS:
            raise InputError(f"{place}: column label is {label}, expected {expected['label']}")
        if not isinstance(features["patch_type"], datasets.ClassLabel):
            raise InputError(
                f"{place}: column patch_type is {features['patch_type']}, expected ClassLabel(names=[...])"
            )
        patch_types[split] = features["patch_type"].names
    if len({tuple(names) for names in patch_types.values()}) > 1:
        listed = "; ".join(f"{split}: {', '.join(names)}" for split, names in patch_types.items())
        raise InputError(f"{where}: the splits have different patch types ({listed})")


def live_patch_types(dataset: datasets.Dataset | datasets.DatasetDict) -> list[str]:
    """The names of the patch types that occur with the label live, in the order of their class ids.

    Args:
        dataset: a dataset of captures, or a dictionary of such splits with the same patch types.

    Raises:
        InputError: when a patch type occurs with both labels, so that it is neither live nor an attack.

    >>> columns = {"label": [1, 0, 1], "patch_type": [0, 1, 0]}
    >>> features = {name: capture_features(["phone1/live", "phone1/print"])[name] for name in columns}
    >>> live_patch_types(datasets.Dataset.from_dict(columns, features=datasets.Features(features)))
    ['phone1/live']
    """
    labels_of: dict[str, set[int]] = {}
    names: list[str] = []
    for _, part in _splits(dataset):
        names = part.features["patch_type"].names
        # Only the two narrow columns are read, never the images.
        table = part.select_columns(["label", "patch_type"]).with_format("arrow")[:]
        for pair in table.group_by(["label", "patch_type"]).aggregate([]).to_pylist():
            labels_of.setdefault(names[pair["patch_type"]], set()).add(pair["label"])
    both = [name for name in names if len(labels_of.get(name, ())) > 1]
    if both:
        raise InputError(f"patch types with both labels, spoof and live: {', '.join(both)}")
    return [name for name in names if labels_of.get(name) == {LIVE}]


def _splits(dataset) -> Iterator[tuple[str, datasets.Dataset]]:
    if isinstance(dataset, Mapping):
        yield from dataset.items()
    else:
        yield "", dataset
