"""What graphs give in place of log-odds, by formulas written out here, and how it is read back."""

import math

import numpy as np
import pytest

from patchnet_hf.export.options import GraphOptions
from patchnet_hf.inference.graph_outputs import GraphOutput, fit_reach
from patchnet_hf.inference.scorers import load_scorer

REACH = 1.5
FORMULAS = {
    GraphOutput("logits"): lambda z: z,
    GraphOutput("probability"): lambda z: 1 / (1 + math.exp(-z)),
    GraphOutput("linear", REACH): lambda z: min(max((z + REACH) / (2 * REACH), 0.0), 1.0),
    # At the reach it is 0.95.
    GraphOutput("sigmoid", REACH): lambda z: 1 / (1 + 19 ** (-z / REACH)),
}


@pytest.fixture(scope="module")
def views():
    return np.random.default_rng(0).integers(0, 256, (5, 9, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("output", FORMULAS, ids=lambda output: output.kind)
def test_values_follow_their_formula_and_keep_the_order(output):
    log_odds = np.linspace(-6, 6, 49)
    values = output.values(log_odds)
    np.testing.assert_allclose(values, [FORMULAS[output](z) for z in log_odds], atol=1e-12)
    assert (np.diff(values) >= 0).all()
    assert output.value(0.75) == pytest.approx(FORMULAS[output](0.75))


@pytest.mark.parametrize("output", FORMULAS, ids=lambda output: output.kind)
def test_a_graph_gives_them_and_they_are_read_back_as_log_odds(model_of, graph_of, views, output):
    model, path = model_of("test_resnet", True), graph_of("test_resnet", True, GraphOptions("uint8", output))
    expected, graph = model.scorer().score(views), load_scorer(str(path))
    (values,) = graph.session.run([output.name], {"pixel_values": views})
    of_graph = values[:, 1] - values[:, 0] if output.kind == "logits" else values
    np.testing.assert_allclose(of_graph, [FORMULAS[output](z) for z in expected.log_odds], atol=1e-4)
    given = graph.score(views)
    np.testing.assert_allclose(given.log_odds, output.told(expected.log_odds), atol=2e-3)
    np.testing.assert_allclose(given.patch_log_odds, output.told(expected.patch_log_odds), atol=2e-3)


def test_where_scores_end_captures_share_the_last_one():
    linear, probability = GraphOutput("linear", REACH), GraphOutput("probability")
    assert linear.log_odds(np.float32([0.0, 1.0])).tolist() == [-REACH, REACH]
    lowest, highest = probability.log_odds(np.float32([0.0, 1.0]))
    assert lowest < -80 and 16 < highest < 17, "float32 ends sooner on the side of 1"
    assert np.isfinite([lowest, highest]).all()


def test_a_score_that_is_not_a_number_stays_one():
    for output in FORMULAS:
        values = np.full((1, 2) if output.kind == "logits" else 1, np.nan, dtype=np.float32)
        assert np.isnan(output.log_odds(values)).all()


def test_a_reach_holds_95_of_100_captures():
    log_odds = np.random.default_rng(0).normal(1.0, 4.0, size=2001)
    reach = fit_reach(log_odds)
    assert np.mean(np.abs(log_odds) <= reach) == pytest.approx(0.95, abs=1e-3)


@pytest.mark.parametrize("log_odds", [[], [1.0, float("nan")], [0.0, 0.0]])
def test_nothing_is_fitted_to_scores_that_say_nothing(log_odds):
    with pytest.raises(ValueError):
        fit_reach(np.array(log_odds))


@pytest.mark.parametrize(("kind", "reach"), [("linear", None), ("sigmoid", -1.0), ("linear", math.inf), ("odds", 1.0)])
def test_outputs_that_do_not_exist_are_refused(kind, reach):
    with pytest.raises(ValueError):
        GraphOutput(kind, reach)
