"""What is compared of a graph and its model, on which captures, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

from patchnet_hf.data.fingerprints import image_digests
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.scored_set import COLUMNS, ScoredSet
from patchnet_hf.export.captures import Capture, draw_evenly, load_export_data, random_captures, read_capture
from patchnet_hf.export.comparison import check_errors, check_scores, compare_scores, measure_latency
from patchnet_hf.export.settings import ExportSettings
from patchnet_hf.inference.graph_outputs import GraphOutput
from patchnet_hf.inference.onnx_scorer import OnnxScorer
from patchnet_hf.inference.scorers import load_scorer

THRESHOLD = 0.7
# 10 live captures, 10 prints, 5 replays.
TYPES = ["bonafide"] * 10 + ["print"] * 10 + ["replay"] * 5


def scored(scores) -> ScoredSet:
    labels = np.array([kind == "bonafide" for kind in TYPES], dtype=np.int64)
    names = [f"{index}.png" for index in range(len(TYPES))]
    columns = {column: [None] * len(TYPES) for column in COLUMNS}
    return ScoredSet("test", names, np.asarray(scores, float), labels, TYPES, np.empty((len(TYPES), 0)), columns)


@pytest.fixture
def model_scores():
    """Two live captures are rejected and one replay is accepted at a probability of 0.7, log-odds 0.847."""
    return np.array([3.0] * 8 + [0.5, -1.0] + [-4.0] * 10 + [1.0] + [-2.0] * 4)


def test_errors_verdicts_and_differences_are_as_counted_by_hand(model_scores):
    graph_scores = model_scores.copy()
    graph_scores[8] = 0.9  # now accepted
    graph_scores[10:12] = 0.9  # two prints too
    found = compare_scores(scored(model_scores), scored(graph_scores), GraphOutput(), THRESHOLD)
    assert found.model == pytest.approx({"apcer": 1 / 5, "bpcer": 2 / 10, "acer": 0.2})
    assert found.graph == pytest.approx({"apcer": 2 / 10, "bpcer": 1 / 10, "acer": 0.15})
    assert found.acer_increase == pytest.approx(-5)
    assert found.verdicts_changed == 3
    assert found.log_odds.largest == pytest.approx(4.9) and found.log_odds.mean == pytest.approx((0.4 + 9.8) / 25)
    assert found.probability.largest == pytest.approx(expit(0.9) - expit(-4.0))


def test_a_rescaled_score_is_compared_as_far_as_it_reaches(model_scores):
    output = GraphOutput("linear", 2.0)
    found = compare_scores(scored(model_scores), scored(np.clip(model_scores, -2, 2)), output, THRESHOLD)
    assert found.log_odds.largest == pytest.approx(0, abs=1e-6) and found.verdicts_changed == 0


def test_a_graph_with_more_errors_than_allowed_is_refused(model_scores):
    worse = model_scores.copy()
    worse[:1] = 0.0  # one of ten live captures more is rejected: 5 points of ACER
    found = compare_scores(scored(model_scores), scored(worse), GraphOutput(), THRESHOLD)
    check_errors(found, "int8", 5.1)
    with pytest.raises(InputError, match=r"its ACER is 25\.00 %, the model's 20\.00 %, and 4\.9 points more") as error:
        check_errors(found, "int8", 4.9)
    assert "--calibrate-on" in str(error.value) and "\n" not in str(error.value)


def test_a_graph_with_just_as_many_errors_as_allowed_is_not_refused(model_scores):
    found = compare_scores(scored(model_scores), scored(model_scores), GraphOutput(), THRESHOLD)
    found = replace(found, model={"acer": 0.05625}, graph={"acer": 0.06875})
    assert found.graph["acer"] - found.model["acer"] > 0.0125, "by rounding alone"
    check_errors(found, "int8", 1.25)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_numbers_are_refused(model_scores, wrong):
    broken = model_scores.copy()
    broken[3] = wrong
    with pytest.raises(InputError, match="the float16 graph is broken: 1 of 25 scores aren't numbers"):
        check_scores(model_scores, broken, "float16")


def test_a_score_that_is_always_the_same_is_refused(model_scores):
    check_scores(model_scores, model_scores, "int8")
    check_scores(np.full(25, 2.0), np.full(25, 2.0), "int8")
    with pytest.raises(InputError, match=r"gives all 25 captures the same score, log-odds 1\.5, where the model's"):
        check_scores(model_scores, np.full(25, 1.5), "int8")


def test_latency_is_that_of_one_thread_and_threads_are_given_back(learned, graph_of, monkeypatch):
    scorers = {"PyTorch": learned.scorer(), "graph": load_scorer(str(graph_of("test_resnet")))}
    seen, score, score_graph = [], scorers["PyTorch"].score, OnnxScorer.score

    def watched(captures):
        seen.append(torch.get_num_threads())
        return score(captures)

    def watched_graph(scorer, captures):
        seen.append(scorer.session.get_session_options().intra_op_num_threads)
        return score_graph(scorer, captures)

    scorers["PyTorch"].score = watched
    monkeypatch.setattr(OnnxScorer, "score", watched_graph)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        latency = measure_latency(scorers, Capture(np.zeros((40, 50, 3), np.uint8)), repeats=3)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(before)
    assert latency.keys() == scorers.keys() and all(0.1 < value < 5000 for value in latency.values())


def test_captures_are_drawn_evenly_over_attack_types():
    kinds = ["bonafide"] * 50 + ["print"] * 6 + ["replay"] * 44
    drawn = draw_evenly(kinds, 30)
    counts = {kind: sum(kinds[index] == kind for index in drawn) for kind in set(kinds)}
    assert counts == {"bonafide": 12, "print": 6, "replay": 12}
    assert drawn == sorted(set(drawn)) == draw_evenly(kinds, 30) != draw_evenly(kinds, 30, seed=1)
    assert draw_evenly(kinds, 100) == list(range(100))


def test_a_capture_is_read_with_the_box_of_its_face(textures):
    dataset = textures.textures(3, seed=0)
    boxes = [None, [1, 2, 30, 31], None]
    dataset = dataset.remove_columns("face_box").add_column("face_box", boxes, feature=dataset.features["face_box"])
    capture = read_capture(dataset, "test", 1)
    assert capture.face_box == boxes[1] and read_capture(dataset, "test", 2).face_box is None
    np.testing.assert_array_equal(capture.image, np.asarray(dataset[1]["image"]))


def test_captures_that_calibrate_are_kept_out_of_the_comparison(captures):
    settings = ExportSettings(dataset=f"{captures}:test", quantize="int8", captures=24)
    data = load_export_data(settings)
    assert data.drawn_counts() == {"bonafide": 8, "print": 8, "replay": 8}
    assert len(data.compared) == 160 - 24 and data.left_out == 24
    drawn, compared = (set(image_digests(part, "test")) for part in (data.drawn, data.compared))
    assert len(drawn) == 24 and not drawn & compared


def test_they_are_known_by_their_bytes_in_another_split(captures):
    settings = ExportSettings(
        dataset=f"{captures}:test", quantize="int8", captures=24, calibrate_on=f"{captures}:live"
    )
    data = load_export_data(settings)
    assert data.left_out == 24 and len(data.compared) == 136
    settings = ExportSettings(dataset=f"{captures}:test", quantize="int8", calibrate_on=f"{captures}:dev")
    data = load_export_data(settings)
    assert data.left_out == 0 and len(data.drawn) == 80, "all of them: there are fewer than 128"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "{}:live"}, "has no attacks to compare the graph on"),
        ({"dataset": "{}"}, "name one of them"),
        ({"dataset": "{}:test", "quantize": "int8", "captures": 161}, "has 160 captures, not the 161"),
        ({"dataset": "{}:test", "quantize": "int8", "captures": 160}, "beside the 160 captures to calibrate on"),
    ],
)
def test_captures_that_do_not_do_are_one_line(captures, options, message):
    options = {name: value.format(captures) if name == "dataset" else value for name, value in options.items()}
    with pytest.raises(InputError, match=message) as error:
        load_export_data(ExportSettings(**options))
    assert "\n" not in str(error.value)


def test_pictures_of_noise_go_from_a_line_to_more_than_a_patch():
    sizes = [capture.image.shape[:2] for capture in random_captures(32)]
    assert any(1 in size for size in sizes) and any(max(size) < 32 for size in sizes)
    assert any(min(size) > 32 for size in sizes)
    assert all(capture.image.dtype == np.uint8 for capture in random_captures(32))
