"""What a column may be: the same numbers whatever holds it."""

import datasets
import numpy as np
import pandas
import pyarrow
import pytest
import torch

from patchnet_hf.metrics import apcer_by_type, presentation_attack_metrics
from patchnet_hf.metrics.columns import name_column, number_names

TYPES = ["bonafide", "print", "mask", "print", "replay"]
SCORES, LABELS = [2.0, 1.0, -1.0, -2.0, 3.0], [1, 0, 0, 0, 0]

HOLDERS = {
    "tuple": tuple(TYPES),
    "numpy strings": np.array(TYPES),
    "numpy objects": np.array(TYPES, dtype=object),
    "pandas series": pandas.Series(TYPES, index=[9, 8, 7, 6, 5]),
    "pandas objects": pandas.Series(TYPES, dtype=object),
    "pandas categories": pandas.Series(TYPES, dtype="category"),
    "pandas strings": pandas.array(TYPES, dtype="string"),
    "pandas index": pandas.Index(TYPES),
    "pyarrow": pyarrow.array(TYPES),
    "pyarrow chunks": pyarrow.chunked_array([TYPES[:2], TYPES[2:]]),
    "pyarrow dictionary": pyarrow.array(TYPES).dictionary_encode(),
    "datasets": datasets.Dataset.from_dict({"attack_type": TYPES})["attack_type"],
}


@pytest.mark.parametrize("types", HOLDERS.values(), ids=HOLDERS.keys())
def test_attack_types_are_read_from_whatever_holds_them(types):
    assert apcer_by_type(SCORES, LABELS, types) == {"mask": 0.0, "print": 0.5, "replay": 1.0}


def test_scores_and_labels_of_tensors_frames_and_datasets():
    expected = presentation_attack_metrics(SCORES, LABELS, TYPES)
    dataset = datasets.Dataset.from_dict({"score": SCORES, "label": LABELS, "type": TYPES})
    frame = dataset.to_pandas()
    assert presentation_attack_metrics(torch.tensor(SCORES), torch.tensor(LABELS), TYPES) == expected
    assert presentation_attack_metrics(dataset["score"], dataset["label"], dataset["type"]) == expected
    assert presentation_attack_metrics(frame["score"], frame["label"], frame["type"]) == expected


@pytest.mark.parametrize(
    ("types", "wrong"),
    [
        (np.array([b"print", b"mask"]), "bytes"),
        (np.array([1, 2]), "int"),
        (pandas.Series(["print", None], dtype=object), "NoneType"),
        (pandas.Series(["print", "mask"], dtype="category").cat.remove_categories("mask"), "float"),
        ([["print"], "mask"], "list"),
        ([1, None], "NoneType, int"),
    ],
)
def test_types_that_are_no_strings_are_named(types, wrong):
    with pytest.raises(ValueError, match=f"attack_types of attacks must be strings, got also {wrong}"):
        apcer_by_type([1.0, 2.0], [0, 0], types)


def test_many_fixed_width_strings_are_numbered_as_one():
    names = np.array([f"type {number}" for number in range(1000)])
    column = names[np.random.default_rng(0).integers(0, 1000, (1 << 20) + 5000)]
    numbers, distinct = number_names(column)
    assert len(distinct) == 1000
    np.testing.assert_array_equal(np.array(distinct)[numbers], column)


def test_a_string_is_not_a_column():
    assert name_column("print").shape == ()
