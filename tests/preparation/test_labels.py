"""Labels come from whole components of paths, and columns from named groups."""

import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.preparation.descriptions import describe
from patchnet_hf.preparation.labels import FolderLabels
from patchnet_hf.preparation.patterns import PathPatterns


@pytest.fixture
def labels() -> FolderLabels:
    return FolderLabels.parse(["live,real"], ["print=print,printed_photo", "replay=replay,screen", "spoof"])


@pytest.mark.parametrize(
    "name, attack_type",
    [
        ("live/1.jpg", "bonafide"),
        ("a/Real/b/1.jpg", "bonafide"),
        ("printed_photo/1.jpg", "print"),
        ("subject 1/SCREEN.mp4", "replay"),
        # What merely contains a name says nothing.
        ("printer_room/live/replay_of_client.jpg", "bonafide"),
        ("blueprint/screen/alive.jpg", "replay"),
        # A type beside the mere word for an attack.
        ("spoof/print/1.jpg", "print"),
        ("spoof/1.jpg", "attack"),
    ],
)
def test_whole_components_count(labels, name, attack_type):
    assert labels(name) == attack_type


@pytest.mark.parametrize("name", ["printer/1.jpg", "alive/1.jpg", "1.jpg", "print.d/1.jpg", "screens/replayed/1.jpg"])
def test_parts_of_components_do_not(labels, name):
    with pytest.raises(ValueError, match="no folder in its path says live or attack"):
        labels(name)


@pytest.mark.parametrize(
    "name, said",
    [
        ("live/print/1.jpg", "live (bonafide) and print (print)"),
        ("print/x/screen/1.jpg", "print (print) and screen (replay)"),
        ("spoof/real/1.jpg", "real (bonafide) and spoof (attack)"),
    ],
)
def test_two_meanings_are_an_error_that_names_both(labels, name, said):
    with pytest.raises(ValueError) as error:
        labels(name)
    assert said in str(error.value)


def test_stars_stand_for_anything():
    labels = FolderLabels.parse(["live*"], ["mask=*_mask"])
    assert labels("live_2/1.jpg") == "bonafide"
    assert labels("latex_mask/1.jpg") == "mask"


@pytest.mark.parametrize(
    "live, attacks, message",
    [
        (["live"], ["print=live"], "the folder name live is given for both bonafide and print"),
        (["live"], ["a=x", "b=X"], "the folder name x is given for both a and b"),
        (["live,,real"], [], "a name is empty"),
        (["live"], ["=x"], "expected TYPE=NAME,NAME or NAME,NAME"),
        (["a/b"], [], "a/b is no name of a folder"),
        (["live"], ["live=x"], "use --live"),
        ([], [], "no folder names"),
    ],
)
def test_mistakes_in_names(live, attacks, message):
    with pytest.raises(InputError) as error:
        FolderLabels.parse(live, attacks)
    assert message in str(error.value)


def test_the_first_pattern_that_matches_counts():
    patterns = PathPatterns([r"s(?P<subject>\d+)/(?P<device>[^/]+)/", r"(?P<video>[^/]+)\.mp4$"])
    assert patterns("live/s07/Phone A/1.jpg") == {"subject": "07", "device": "Phone A"}
    assert patterns("live/clip.MP4") == {"video": "clip"}
    with pytest.raises(ValueError, match="no --pattern matches"):
        patterns("live/1.jpg")
    assert PathPatterns([r"(?P<subject>\d+)(?:_(?P<device>\w+))?\."])("7.jpg") == {"subject": "7"}
    assert PathPatterns([])("live/1.jpg") == {}


@pytest.mark.parametrize(
    "pattern, message",
    [
        (
            r"(?P<subjct>\d+)",
            "group subjct; expected device, subject, session, video, material; did you mean subject?",
        ),
        (r"(?P<subject>\d+", "no regular expression: missing ), unterminated subpattern at position 0"),
        (r"\d+", "no named group"),
    ],
)
def test_mistakes_in_patterns(pattern, message):
    with pytest.raises(InputError) as error:
        PathPatterns([pattern])
    assert message in str(error.value)


def test_descriptions_fill_in_what_follows():
    assert describe(attack_type="Bona Fide").label == 1
    assert describe(label="spoof").attack_type == "attack"
    assert describe(label="live", device="phone").patch_type == "phone/live"
    assert describe(attack_type="replay", material="ipad", device="laptop").patch_type == "laptop/ipad"
    assert describe(attack_type="replay", material="ipad").patch_type == "ipad"
    for values in (
        {},
        {"label": "fake"},
        {"label": "live", "attack_type": "print"},
        {"label": "live", "split": "dev"},
    ):
        with pytest.raises(ValueError):
            describe(**values)


def test_brackets_are_a_part_of_a_name():
    labels = FolderLabels.parse(["live [1]"], ["print=print"])
    assert labels("live [1]/a.jpg") == "bonafide"
    with pytest.raises(ValueError):
        labels("live 1/a.jpg")
