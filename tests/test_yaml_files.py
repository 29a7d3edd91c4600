"""YAML as people write it: what they mean, and what they are told about mistakes."""

import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.yaml_files import read_yaml_mapping


def test_numbers_are_decimal_and_names_that_look_like_other_numbers_are_text(tmp_path):
    (tmp_path / "a.yaml").write_text("{subject: 010, video: 1_1_01_1, session: 1:30, n: [12, -3, 0, 1.5, 1.0e-3]}")
    assert read_yaml_mapping(tmp_path / "a.yaml", "protocol") == {
        "subject": "010",
        "video": "1_1_01_1",
        "session": "1:30",
        "n": [12, -3, 0, 1.5, 0.001],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nscale: 2\nseed: 3\n", "seed is in line 1 and again in line 3"),
        ("folds:\n- name: a\n  train: {device: 1, device: 2}\n", "device is in line 3 and again in line 3"),
        ("session: 2024-13-45\n", "month must be in 1..12"),
        ("a: [", "is no YAML"),
        ("[a, b]: 1\n", "found unhashable key"),
        ("{a: 1}: 1\n", "found unhashable key"),
        ("- a", "is no mapping"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^[^\n]*a\.yaml[^\n]*$") as error:
        read_yaml_mapping(tmp_path / "a.yaml", "protocol")
    assert message in str(error.value)
