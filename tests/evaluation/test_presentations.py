"""Images and clips, and what varies independently among them."""

import numpy as np
import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.presentations import Presentations, check_clips, check_unit


def test_images_are_counted_as_they_are(random_set):
    scored = random_set()
    images = Presentations.of(scored)
    np.testing.assert_array_equal(images.scores, scored.scores)
    assert images.of_image.tolist() == list(range(160)) and len(images) == 160


def test_a_clip_scores_the_mean_of_its_frames_and_clips_of_other_persons_stay_apart(random_set):
    scored = random_set()
    clips = Presentations.of(scored, "clip")
    # All persons have a "video 0": by that name alone there would be four clips.
    assert len(clips) == 80
    expected = {}
    for index in range(len(scored)):
        key = scored.columns["subject"][index], scored.columns["video"][index]
        expected.setdefault(key, []).append(scored.scores[index])
    np.testing.assert_allclose(clips.scores, [np.mean(frames) for frames in expected.values()])
    np.testing.assert_array_equal(clips.labels[clips.of_image], scored.labels)
    assert [clips.attack_types[clip] for clip in clips.of_image] == scored.attack_types


def test_an_image_without_a_video_is_a_clip_of_its_own(random_set):
    videos = random_set().columns["video"]
    clips = Presentations.of(random_set(columns={"video": [None, None, *videos[2:]]}), "clip")
    assert len(clips) == 81 and clips.of_image[0] != clips.of_image[1]


def test_frames_of_one_clip_with_two_labels_are_a_mistake(random_set):
    with pytest.raises(InputError, match=r"val: clip 'mine / person 0 / - / one' has two labels") as error:
        Presentations.of(random_set(columns={"video": ["one"] * 160}), "clip")
    assert "\n" not in str(error.value)


def test_no_videos_no_clips(random_set):
    with pytest.raises(InputError, match="names no videos"):
        Presentations.of(random_set(columns={"video": [None] * 160}), "clip")
    with pytest.raises(InputError, match="names no videos"):
        check_clips({"video": ["", None]}, "val")


@pytest.mark.parametrize("level", ["image", "clip"])
def test_pooled_sets_keep_their_clips_apart_and_know_a_person_again(random_set, level):
    one, two = (Presentations.of(random_set(name, seed=seed), level) for seed, name in enumerate(("one", "two")))
    both = Presentations.pooled([one, two], "total")
    assert len(both) == len(one) + len(two)
    np.testing.assert_array_equal(both.scores[both.of_image[160:]], two.scores[two.of_image])
    assert len(set(both.groups("subject"))) == 20
    elsewhere = Presentations.of(random_set(columns={"source": ["other"] * 160}), level)
    assert len(set(Presentations.pooled([one, elsewhere], "total").groups("subject"))) == 40


def test_groups_are_subjects_videos_or_images(random_set):
    scored = random_set()
    images = Presentations.of(scored)
    for unit, keys in (
        ("subject", scored.columns["subject"]),
        ("video", list(zip(scored.columns["subject"], scored.columns["video"], strict=True))),
        ("image", list(range(160))),
    ):
        groups = images.groups(unit)
        pairs = set(zip(groups.tolist(), keys, strict=True))
        assert len(pairs) == len(set(keys)) == len(set(groups.tolist()))
    assert len(set(Presentations.of(scored, "clip").groups("video"))) == 80


def test_the_default_unit_is_the_largest_that_all_images_name(random_set):
    nobody, half = [None] * 160, [None, *["x"] * 159]
    assert Presentations.of(random_set()).default_unit() == "subject"
    assert Presentations.of(random_set(columns={"subject": half})).default_unit() == "video"
    assert Presentations.of(random_set(columns={"subject": nobody, "video": half})).default_unit() == "image"
    without = random_set(columns={"subject": nobody, "video": [f"v{index // 2}" for index in range(160)]})
    assert Presentations.of(without, "clip").default_unit() == "video"


def test_a_unit_that_images_lack_is_a_mistake(random_set):
    images = Presentations.of(random_set(columns={"subject": [None, *["x"] * 159]}))
    with pytest.raises(InputError, match="need the subject of every image; 1 of 160 of val have none"):
        images.groups("subject")
    with pytest.raises(InputError, match="need the video of every image; 1 of 2"):
        check_unit({"subject": ["x", "x"], "video": ["x", None]}, "val", "video", "image")
    with pytest.raises(InputError, match="make no sense for clips"):
        check_unit({"subject": ["x"], "video": ["x"]}, "val", "image", "clip")
    check_unit({"subject": [None], "video": ["x"]}, "val", None, "image")
