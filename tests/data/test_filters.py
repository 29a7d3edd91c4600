"""Filters of captures against brute force, and what they say about mistakes."""

import datasets
import numpy as np
import pytest

from patchnet_hf.data.filters import COLUMNS, CaptureColumns, CaptureFilter, filter_captures
from patchnet_hf.data.loading import load_training_and_evaluation_sets
from patchnet_hf.data.schema import LABELS, capture_features
from patchnet_hf.errors import InputError

PATCH_TYPES = ["phone/live", "phone/print", "phone/replay"]
KINDS = ["bonafide", "print", "replay"]


def captures(rows: int, seed: int = 0, **columns) -> datasets.Dataset:
    """Random captures without pictures; nulls in every column that may have them."""
    random = np.random.default_rng(seed)
    kinds = random.integers(3, size=rows)
    choices = {
        "source": ["oulu", "nuaa"],
        "subject": [None, *map(str, range(1, 26)), "07", "anna"],
        "session": [None, "1", "02", "3"],
        "video": [None, "v1", "v2"],
        "device": [None, "phone1", "phone2", "1-20"],
    }
    values = {name: [some[k] for k in random.integers(len(some), size=rows)] for name, some in choices.items()}
    data = {
        "image": [{"bytes": b"-", "path": f"{row}.png"} for row in range(rows)],
        "label": [int(kind == 0) for kind in kinds],
        "patch_type": kinds.tolist(),
        "attack_type": [KINDS[kind] for kind in kinds],
        **values,
        "face_box": [None] * rows,
        **columns,
    }
    features = capture_features(PATCH_TYPES)
    return datasets.Dataset.from_dict({name: data[name] for name in features}, features=features)


def meets(row: dict, conditions: dict) -> bool:
    """One row at a time, with the rules written out again."""
    for name, wanted in conditions.items():
        value = row[name]
        if name == "label":
            value = LABELS[value]
        if name == "patch_type":
            value = PATCH_TYPES[value]
        negated = isinstance(wanted, dict)
        wanted = wanted["not"] if negated else wanted
        found = False
        for item in wanted if isinstance(wanted, list) else [wanted]:
            if item is None or value is None:
                found |= item is value
            elif str(item) == "1-20" and name == "subject":
                found |= value.isdigit() and 1 <= int(value) <= 20
            elif isinstance(item, int) and name == "session":
                found |= value.isdigit() and int(value) == item
            else:
                found |= value == str(item)
        if found == negated:
            return False
    return True


@pytest.mark.parametrize(
    "given",
    [
        {"source": "oulu"},
        {"subject": "1-20", "session": [1, 2]},
        {"subject": {"not": "1-20"}},
        {"subject": [None, "anna"], "device": {"not": None}},
        {"device": "1-20"},
        {"label": "live", "attack_type": {"not": ["print", "replay"]}},
        {"attack_type": ["bonafide", "print"], "patch_type": {"not": "phone/replay"}},
        {"subject": "07"},
        {"subject": 7},
        [{"source": "oulu", "subject": "1-20"}, {"source": "nuaa", "label": "spoof", "video": ["v1", None]}],
    ],
    ids=str,
)
def test_filters_choose_what_a_search_row_by_row_finds(given):
    parts = [captures(300, 0), captures(200, 1).select(range(199, 20, -2))]
    mask = CaptureFilter.parse(given).mask(CaptureColumns(parts))
    rows = [row for part in parts for row in part.remove_columns("image")]
    alternatives = given if isinstance(given, list) else [given]
    expected = [any(meets(row, conditions) for conditions in alternatives) for row in rows]
    assert 0 < sum(expected) < len(rows)
    assert mask.tolist() == expected


def test_columns_hold_what_the_rows_hold_whatever_their_order():
    part = captures(50, 3).shuffle(seed=1)
    columns = CaptureColumns([part])
    assert len(columns) == 50
    for name in COLUMNS:
        names = {"label": LABELS, "patch_type": PATCH_TYPES}.get(name)
        values = [names[value] if names else value for value in part[name]]
        assert columns.texts(name).tolist() == values
        assert columns.present(name) == sorted({value for value in values if value is not None})


def test_numbers_match_with_other_leading_zeros_only_where_the_text_itself_is_nowhere():
    part = captures(4, subject=["1", "01", "02", "x3"])
    columns = CaptureColumns([part])

    def chosen(value):
        return np.flatnonzero(CaptureFilter.parse({"subject": value}).mask(columns)).tolist()

    assert chosen("1") == chosen(1) == [0] and chosen("01") == [1]
    assert chosen(2) == chosen("002") == [2]
    assert chosen("1-2") == chosen("001 - 2") == [0, 1, 2]


def test_what_looks_like_a_range_is_a_name_where_a_capture_is_called_so():
    part = captures(3, session=["2024-01", "2024-02", "3-1"], subject=["5-3", "4", "3"])
    columns = CaptureColumns([part])
    chosen = CaptureFilter.parse({"session": ["2024-01", "3-1"]}).mask(columns)
    assert chosen.tolist() == [True, False, True]
    assert CaptureFilter.parse({"subject": "5-3"}).mask(columns).tolist() == [True, False, False]
    with pytest.raises(InputError, match="session: the range 2024-03 ends before it begins"):
        CaptureFilter.parse({"session": "2024-03"}).mask(columns)


def test_json_and_yaml_say_the_same_and_a_label_may_be_its_number():
    columns = CaptureColumns([captures(40)])
    text = CaptureFilter.parse('{"label": 1, "session": {"not": null}}')
    assert text == CaptureFilter.parse({"label": "live", "session": {"not": None}})
    assert text.mask(columns).any()
    assert str(text) == "label live; session not null"


def test_parts_are_filtered_together_and_empty_ones_left_out():
    parts = {"a": captures(30, source=["x"] * 30), "b": captures(20, source=["y"] * 20)}
    kept = filter_captures(parts, CaptureFilter.parse({"source": "y", "label": "live"}))
    assert list(kept) == ["b"] and set(kept["b"]["label"]) == {1}
    assert len(kept["b"]) == sum(parts["b"]["label"])


def test_a_run_trains_and_evaluates_what_its_filters_choose(tmp_path):
    splits = {"train": captures(60, 0), "val": captures(40, 1), "test": captures(30, 2, source=["msu"] * 30)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "data")
    specs = [f"{tmp_path}/data:{name}" for name in splits]
    training, sets = load_training_and_evaluation_sets(
        None,
        specs,
        specs,
        CaptureFilter.parse({"attack_type": {"not": "print"}}),
        CaptureFilter.parse({"source": "oulu"}),
    )
    assert set(training["attack_type"]) == {"bonafide", "replay"}
    assert len(training) == sum(kind != "print" for part in splits.values() for kind in part["attack_type"])
    assert list(sets) == ["train", "val"]
    assert {name: len(part) for name, part in sets.items()} == {
        name: splits[name]["source"][:].count("oulu") for name in ("train", "val")
    }
    with pytest.raises(InputError, match="no evaluation set"):
        load_training_and_evaluation_sets(None, specs, None, None, CaptureFilter.parse({"source": "oulu"}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"subjekt": 1}, "unknown column 'subjekt'; did you mean subject"),
        ({"source": "olu"}, "source: no capture has 'olu'; did you mean oulu?; there are nuaa, oulu"),
        ({"attack_type": {"not": "mask"}}, "no capture has 'mask'"),
        ({"subject": "100-200"}, "no capture has '100-200'"),
        ({"subject": "20-1"}, "20-1 ends before it begins"),
        ({"source": None}, "no capture has 'null'"),
        ({"session": {"nicht": 1}}, "expected a value, a list of values, or {not: ...}"),
        ({"session": []}, "empty list"),
        ({"session": True}, "session is True; expected text or a whole number (in quotes"),
        ({"session": 1.10}, "session is 1.1; expected text or a whole number (in quotes"),
        ({}, "filter is empty"),
        ([], "filter is empty"),
        ("subject=1", "no JSON"),
        ("3", "filter is 3; expected a mapping"),
        ({"label": "live", "attack_type": "print"}, "no capture has all of label live; attack_type print"),
    ],
)
def test_a_mistake_is_one_line(given, message):
    with pytest.raises(InputError) as error:
        CaptureFilter.parse(given).mask(CaptureColumns([captures(100)]))
    assert message in str(error.value) and "\n" not in str(error.value)
