"""Protocols as people write them, and what they are told about mistakes."""

import pytest
import yaml

from patchnet_hf.errors import InputError
from patchnet_hf.protocols.protocol import HoldOut, load_protocol, parse_protocol

GOOD = """
name: p
recipe: r.yaml
datasets: [a, b:val]
leave_one_out: device
targets: [phone1, 2]
hold_out: {by: session, development: 0.1, test: 0.3, seed: 5}
criterion: apcer=0.05
level: clip
species: {print: [print1, print2]}
options: {num_train_epochs: 2}
allow_shared_subjects: true
"""
PARTS = "train: {subject: 1}, development: {subject: 2}, test: {subject: 3}"


def test_all_keys_are_taken_as_written(tmp_path):
    (tmp_path / "p.yaml").write_text(GOOD)
    protocol = load_protocol(tmp_path / "p.yaml")
    assert (protocol.datasets, protocol.leave_one_out, protocol.targets) == (("a", "b:val"), "device", ("phone1", "2"))
    assert protocol.hold_out == HoldOut("session", 0.1, 0.3, 5)
    assert (protocol.criterion, protocol.level, protocol.allow_shared_subjects) == ("apcer=0.05", "clip", True)
    assert protocol.species == {"print": ("print1", "print2")} and protocol.options == {"num_train_epochs": 2}


def test_the_protocols_that_come_with_the_project_are_read_and_their_recipes_are_there(project):
    found = sorted((project / "configs" / "protocols").glob("*.yaml"))
    assert len(found) == 7
    for path in found:
        assert (project / load_protocol(path).recipe).is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("recipie: x", "p.yaml: unknown key 'recipie'; did you mean recipe"),
        ("name: null", "name is None; expected text"),
        (
            "leave_one_out: attack",
            "leave_one_out is 'attack'; expected one of source, attack_type, device; did you mean",
        ),
        ("leave_one_out: [device]", "leave_one_out is ['device']; expected one of source, attack_type, device"),
        ("leave_one_out: null", "leave_one_out is None; expected one of"),
        ("datasets: []", "datasets is an empty list"),
        ("datasets: [a, a]", "datasets: a is named twice"),
        ("level: video", "level is 'video'; expected one of image, clip"),
        ("hold_out: {by: persons}", "hold_out: by is 'persons'; expected one of subject, session, video"),
        ("hold_out: {share: 0.2}", "hold_out: unknown key 'share'"),
        ("hold_out: {test: 1}", "test is 1; expected a share between 0 and 1"),
        ("hold_out: {test: 0.6, development: 0.5}", "development and test are 1.1 in all"),
        ("hold_out: {seed: -1}", "seed is -1"),
        ("species: {a: [x], b: [x]}", "attack type 'x' is named twice"),
        ("options: {output_dir: x}", "options: output_dir can't be given"),
        ("options: {push_to_hub: true}", "options: push_to_hub can't be given"),
        ("options: 3", "options is 3; expected a mapping"),
        ("allow_shared_subjects: sometimes", "expected true or false"),
        (f"folds: [{{name: x, {PARTS}}}]", "expected either leave_one_out or folds"),
    ],
)
def test_a_mistake_is_one_line(change, message):
    given = yaml.safe_load(GOOD) | yaml.safe_load(change)
    with pytest.raises(InputError) as error:
        parse_protocol(given, "p.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("[]", "folds is []; expected a list of folds"),
        ("[{name: x, train: {subject: 1}}]", "fold x: development is missing"),
        (f"[{{nane: x, {PARTS}}}]", "folds: fold 1: unknown key 'nane'; did you mean name"),
        (f"[{{name: x, {PARTS.replace('subject: 3', 'sujet: 3')}}}]", "fold x: test: unknown column 'sujet'"),
    ],
)
def test_a_mistake_in_a_fold_names_the_fold(folds, message):
    text = f"name: p\nrecipe: r\ndatasets: d\nfolds: {folds}"
    with pytest.raises(InputError) as error:
        parse_protocol(yaml.safe_load(text), "p.yaml")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_goes_with_leave_one_out_alone_is_not_ignored_beside_folds():
    text = f"name: p\nrecipe: r\ndatasets: d\nhold_out: {{test: 0.2}}\nfolds: [{{name: x, {PARTS}}}]"
    with pytest.raises(InputError, match="hold_out goes with leave_one_out"):
        parse_protocol(yaml.safe_load(text), "p.yaml")
    with pytest.raises(InputError, match="recipe is missing"):
        parse_protocol({"name": "p", "datasets": "d"}, "p.yaml")
