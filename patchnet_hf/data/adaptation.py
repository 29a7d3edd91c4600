"""Somebody else's dataset of images as a dataset of captures: columns by the data contract, images as they are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from .schema import BONA_FIDE, DEFAULT_ATTACK_TYPE, LABELS, LIVE, SPOOF, capture_features

NAMES_OF_LABELS = {
    LIVE: ("live", "bonafide", "real", "genuine"),
    SPOOF: ("spoof", "attack", "fake"),
}
"""What others call our labels; case, spaces, `-` and `_` don't matter."""

TEXT_COLUMNS = ("attack_type", "source", "subject", "session", "video", "device")
NARROW_COLUMNS = ("label", "patch_type", *TEXT_COLUMNS, "face_box")
"""All columns of the data contract but the images."""


def as_captures(dataset: datasets.Dataset, source: str, where: str) -> datasets.Dataset:
    """
    `dataset` with the columns of [`capture_features`] and no others; its images are neither copied nor decoded.

    `label` may be a `ClassLabel` or text with names as in [`NAMES_OF_LABELS`], or 0 (attack) and 1 (bona fide). Text
    columns may be text, whole numbers or a `ClassLabel`. What is missing or null gets the contract's defaults:
    `patch_type` the label's name, `attack_type` "bonafide" or "attack", `source` the name of the dataset.

    Args:
        dataset: with columns `image` and `label` at least.
        source: name of the dataset.
        where: how the user knows it, for messages.

    Raises:
        InputError: a column is missing, of another type, or holds what it can't.
    """
    _check_images_are_there(dataset, where)
    if follows_contract(dataset.features):
        return dataset if dataset.features["image"].decode else dataset.cast_column("image", datasets.Image())
    adaptation = Adaptation.of(dataset.features, source, where)
    table = dataset.select_columns(adaptation.columns).with_format("arrow")[:]
    adaptation = adaptation.with_patch_types(table)
    narrow = adaptation.narrow(table)
    images = dataset.select_columns(["image"]).cast_column("image", datasets.Image())
    return datasets.concatenate_datasets([images, narrow], axis=1)


def follows_contract(features: datasets.Features) -> bool:
    """Whether a dataset with these features is one of captures as it is."""
    expected = capture_features()
    return (
        all(features.get(name) == expected[name] for name in ("label", *TEXT_COLUMNS, "face_box"))
        and isinstance(features.get("image"), datasets.Image)
        and isinstance(features.get("patch_type"), datasets.ClassLabel)
    )


@dataclass(frozen=True)
class Adaptation:
    """
    How the columns of a dataset become those of the data contract.

    Attributes:
        given: its features.
        source, where: as for [`as_captures`].
        patch_types: their names; of text they are known once it is read.
    """

    given: datasets.Features
    source: str
    where: str
    patch_types: tuple[str, ...] | None = None

    @classmethod
    def of(cls, features: datasets.Features, source: str, where: str) -> "Adaptation":
        """
        The adaptation of a dataset with these features.

        Raises:
            InputError: a column is missing or of another type.
        """
        missing = [name for name in ("image", "label") if name not in features]
        if missing:
            raise InputError(
                f"{where}: not a dataset of captures: no column {' and '.join(missing)} (it has: "
                f"{', '.join(features) or 'none'}); expected an image and a label at least"
            )
        if not isinstance(features["image"], datasets.Image):
            raise InputError(f"{where}: column image is {features['image']}, expected Image()")
        adaptation = cls(features, source, where)
        adaptation._check_label(features["label"])
        for name in ("patch_type", *TEXT_COLUMNS):
            if name in features and not _is_text(features[name]):
                raise InputError(f"{where}: column {name} is {features[name]}, expected text")
        if "face_box" in features and not _is_box(features["face_box"]):
            raise InputError(
                f"{where}: column face_box is {features['face_box']}, expected lists of four whole numbers x, y, w, h"
            )
        kind = features.get("patch_type")
        if kind is None or kind == datasets.Value("null"):
            return replace(adaptation, patch_types=LABELS)
        return replace(adaptation, patch_types=tuple(kind.names)) if _is_classes(kind) else adaptation

    @property
    def columns(self) -> list[str]:
        """The columns that are read for it."""
        return [name for name in NARROW_COLUMNS if name in self.given]

    @property
    def features(self) -> datasets.Features:
        """Of the result."""
        return capture_features(self.patch_types)

    def with_patch_types(self, table: pa.Table | Mapping) -> "Adaptation":
        """The adaptation with the patch types that occur in the columns of the whole dataset."""
        if self.patch_types is not None:
            return self
        names = set(self._patch_type_names(table, self._labels(table)).to_pylist())
        return replace(self, patch_types=tuple(sorted(names)) or LABELS)

    def narrow(self, table: pa.Table) -> datasets.Dataset:
        """All columns of the data contract but the images, from those of the dataset."""
        features = datasets.Features({name: self.features[name] for name in NARROW_COLUMNS})
        return datasets.Dataset.from_dict(self.adapted(table), features=features)

    def adapted(self, table: pa.Table | Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """
        The columns of the data contract but the images, of some or all rows.

        Raises:
            InputError: a value can't be used.
        """
        labels = self._labels(table)
        columns = {"label": labels, "patch_type": self._patch_types(table, labels)}
        for name in TEXT_COLUMNS:
            columns[name] = self._text(name, table, len(labels))
        columns["attack_type"] = self._attack_types(columns["attack_type"], labels)
        columns["source"] = pc.fill_null(columns["source"], self.source)
        columns["face_box"] = self._boxes(table, len(labels))
        return {name: columns[name] for name in NARROW_COLUMNS}

    def _check_label(self, feature) -> None:
        expected = (
            f"expected classes named {' or '.join(NAMES_OF_LABELS[SPOOF])} and {' or '.join(NAMES_OF_LABELS[LIVE])}, "
            "or 0 (attack) and 1 (bona fide)"
        )
        if _is_classes(feature):
            unknown = [name for name in feature.names if _label_of(name) is None]
            if unknown:
                raise InputError(f"{self.where}: column label has the class {', '.join(unknown[:5])}; {expected}")
        elif not (_is_integer(feature) or _is_string(feature)):
            raise InputError(f"{self.where}: column label is {feature}; {expected}")

    def _labels(self, table) -> pa.Array:
        feature, values = self.given["label"], _whole(table["label"])
        if _is_string(feature):
            names = values.dictionary_encode()
            known = [_label_of(name) for name in names.dictionary.to_pylist()]
            labels = pa.array(known, pa.int64()).take(names.indices)
        elif _is_classes(feature):
            known = pa.array([_label_of(name) for name in feature.names], pa.int64())
            inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(known)))
            labels = known.take(pc.if_else(inside, values, None))
        else:
            labels = pc.if_else(pc.is_in(values, pa.array([SPOOF, LIVE], values.type)), values, None).cast(pa.int64())
        if labels.null_count:
            bad = pc.unique(values.filter(pc.is_null(labels))).to_pylist()
            shown = ", ".join("null" if value is None else repr(value) for value in bad[:5])
            raise InputError(
                f"{self.where}: {labels.null_count} captures have no label that can be used ({shown}); expected 0 or "
                f"{' or '.join(NAMES_OF_LABELS[SPOOF])}, 1 or {' or '.join(NAMES_OF_LABELS[LIVE])}"
            )
        return labels

    def _patch_types(self, table, labels: pa.Array) -> pa.Array:
        names = self._patch_type_names(table, labels)
        types = pc.index_in(names, pa.array(self.patch_types, pa.string())).cast(pa.int64())
        if types.null_count:
            raise InputError(f"{self.where}: {types.null_count} captures have no patch_type although others have")
        return types

    def _patch_type_names(self, table, labels: pa.Array) -> pa.Array:
        names = self._text("patch_type", table, len(labels))
        return pc.if_else(pc.is_null(names), pa.array(LABELS, pa.string()).take(labels), names)

    def _text(self, name: str, table, rows: int) -> pa.Array:
        """A column as strings, null where nothing is said."""
        if name not in self.given:
            return pa.nulls(rows, pa.string())
        feature, values = self.given[name], _whole(table[name])
        if _is_classes(feature):
            inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(feature.names)))
            return pa.array(feature.names, pa.string()).take(pc.if_else(inside, values, None))
        text = values.cast(pa.string())
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)

    def _attack_types(self, given: pa.Array, labels: pa.Array) -> pa.Array:
        named = given.dictionary_encode()
        says_live = [_simplified(name) == BONA_FIDE for name in named.dictionary.to_pylist()]
        says_live = pa.array(says_live, pa.bool_()).take(named.indices)
        live = pc.equal(labels, LIVE)
        wrong = pc.fill_null(pc.xor(says_live, live), False)
        if pc.any(wrong).as_py():
            first = pc.index(wrong, True).as_py()
            raise InputError(
                f"{self.where}: attack_type is {given[first].as_py()!r} although label is "
                f"{LABELS[labels[first].as_py()]}"
            )
        return pc.if_else(live, BONA_FIDE, pc.fill_null(given, DEFAULT_ATTACK_TYPE))

    def _boxes(self, table, rows: int) -> pa.Array:
        kind = pa.list_(pa.int32(), 4)
        if "face_box" not in self.given or self.given["face_box"] == datasets.Value("null"):
            return pa.nulls(rows, kind)
        boxes = _whole(table["face_box"]).to_pylist()
        for box in boxes:
            if box is not None and (len(box) != 4 or None in box):
                raise InputError(f"{self.where}: a face_box is {box}; expected four whole numbers x, y, w, h")
        return pa.array(boxes, kind)


def _check_images_are_there(dataset: datasets.Dataset, where: str) -> None:
    if not isinstance(dataset.features.get("image"), datasets.Image):
        return
    # Not by rows of the dataset: that would copy the images.
    column = dataset.data.column("image")
    missing = pa.chunked_array([_has_no_image(chunk) for chunk in column.chunks], pa.bool_())
    if dataset._indices is not None:
        missing = missing.take(dataset._indices.column(0))
    if count := pc.sum(missing).as_py():
        first = pc.index(missing, True).as_py()
        raise InputError(f"{where}: {count} captures have no image, for example capture {first}")


def _has_no_image(images: pa.Array) -> pa.Array:
    if not pa.types.is_struct(images.type):
        return pc.is_null(images)
    return pc.and_(*(pc.is_null(pc.struct_field(images, name)) for name in ("bytes", "path")))


def _whole(column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _simplified(name: str | None) -> str | None:
    return None if name is None else re.sub(r"[\s_-]", "", name).lower()


def _label_of(name: str | None) -> int | None:
    simple = _simplified(name)
    return next((label for label, names in NAMES_OF_LABELS.items() if simple in names), None)


def _is_classes(feature) -> bool:
    return isinstance(feature, datasets.ClassLabel)


def _is_string(feature) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")


def _is_integer(feature) -> bool:
    # Not a bool: of what is true, the name `label` doesn't say.
    return isinstance(feature, datasets.Value) and re.fullmatch(r"u?int(8|16|32|64)", feature.dtype) is not None


def _is_text(feature) -> bool:
    is_null = feature == datasets.Value("null")
    return _is_classes(feature) or _is_string(feature) or _is_integer(feature) or is_null


def _is_box(feature) -> bool:
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, Sequence) and len(feature) == 1 else None)
    return feature == datasets.Value("null") or (isinstance(inner, datasets.Value) and _is_integer(inner))
