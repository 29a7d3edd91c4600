"""Exported graphs give what their models give, in ONNX Runtime alone."""

import collections
import itertools
import os
import re

import numpy as np
import pytest
import torch

from patchnet_hf.export.exporter import export_graph
from patchnet_hf.export.options import GraphOptions
from patchnet_hf.inference.graph_outputs import GraphOutput
from patchnet_hf.inference.scorers import load_scorer

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")

BACKBONES = ("resnet18", "fastvit_t8", "efficientformerv2_s0", "convnext_tiny")
# Those of the project itself.
OWN_BACKBONES = ("cdcn", "cdcnpp", "dc_cdn")
PICTURE = GraphOptions("picture", GraphOutput("probability"))
SMALL = "test_resnet"


def session_of(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def interface(path) -> list[list]:
    session = session_of(path)
    return [
        [(node.name, node.type, node.shape) for node in nodes()] for nodes in (session.get_inputs, session.get_outputs)
    ]


def patches(captures: int, count: int, side: int) -> np.ndarray:
    """Random patches of all contrasts, `(captures, count, side, side, 3)` uint8."""
    random = np.random.default_rng([captures, count])
    centre = random.uniform(20, 230, size=(captures, count, 1, 1, 3))
    noise = random.normal(size=(captures, count, side, side, 3)) * random.uniform(
        1, 80, size=(captures, count, 1, 1, 1)
    )
    return (centre + noise).round().clip(0, 255).astype(np.uint8)


def probabilities(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1]))


def live_probabilities(model, views: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return probabilities(model.network(model.processor.normalize_views(views)).logits.numpy())


@pytest.mark.parametrize(
    ("backbone", "calibrated"),
    [*itertools.product(BACKBONES, (False, True)), *((own, False) for own in OWN_BACKBONES)],
)
def test_probabilities_are_the_models_for_any_number_of_captures_and_patches(model_of, graph_of, backbone, calibrated):
    model, path = model_of(backbone, calibrated), graph_of(backbone, calibrated)
    side, session = model.processor.patch_size, session_of(path)
    for captures in (1, 7):
        for count in (1, 9):
            views = patches(captures, count, side)
            pixel_values = model.processor.normalize_views(views).numpy()
            (logits,) = session.run(["logits"], {"pixel_values": pixel_values})
            assert logits.shape == (captures, 2)
            np.testing.assert_allclose(probabilities(logits), live_probabilities(model, views), atol=1e-4)
    assert np.ptp(probabilities(logits)) > 0.01, "the captures are told apart"


@pytest.mark.parametrize(("backbone", "calibrated"), list(zip(BACKBONES, (True, False, True, False), strict=True)))
def test_a_self_contained_graph_is_processor_and_model_for_pictures_of_any_size(
    model_of, graph_of, pictures, backbone, calibrated
):
    model, session = model_of(backbone, calibrated), session_of(graph_of(backbone, calibrated, PICTURE))
    side = model.processor.patch_size
    assert any(max(picture.shape[:2]) < side for picture in pictures), "some are smaller than a patch"
    for picture in pictures:
        of_capture, of_patches = session.run(None, {"image": picture})
        views = model.processor.views(picture)
        np.testing.assert_allclose(of_capture, live_probabilities(model, views[None]), atol=1e-3)
        np.testing.assert_allclose(of_patches, live_probabilities(model, views[:, None]), atol=1e-3)


def test_a_self_contained_graph_has_one_picture_in_and_two_probabilities_out(graph_of):
    assert interface(graph_of(SMALL, True, PICTURE)) == [
        [("image", "tensor(uint8)", ["height", "width", 3])],
        [("live_probability", "tensor(float)", [1]), ("patch_live_probabilities", "tensor(float)", [9])],
    ]


def test_a_face_in_a_photograph_is_cut_out_as_for_the_model(model_of, graph_of, pictures):
    photograph = max(pictures, key=lambda picture: min(picture.shape[:2]))
    boxes = [None, (30, 25, 50, 61), (0, 0, 20, 90)]
    expected, given = (
        scorer.score([scorer.prepare(photograph, box) for box in boxes])
        for scorer in (model_of(SMALL, True).scorer(), load_scorer(str(graph_of(SMALL, True, PICTURE))))
    )
    np.testing.assert_allclose(given.log_odds, expected.log_odds, atol=1e-3)
    np.testing.assert_allclose(given.patch_log_odds, expected.patch_log_odds, atol=1e-3)
    assert np.abs(np.diff(expected.log_odds)).min() > 0.01, "the boxes matter"


def test_a_self_contained_graph_resizes_where_the_processor_does(model_of, pictures, tmp_path):
    model = model_of(SMALL, True)
    processor = type(model.processor)(mode="resize", patch_size=32, resize_size=40)
    export_graph(model.network, processor, tmp_path / "graph.onnx", PICTURE)
    session = session_of(tmp_path / "graph.onnx")
    for picture in pictures:
        of_capture, of_patches = session.run(None, {"image": picture})
        expected = live_probabilities(model, processor.views(picture)[None])
        np.testing.assert_allclose(of_capture, expected, atol=1e-3)
        assert of_patches.shape == (1,)


@pytest.mark.parametrize(
    ("options", "kind", "shape"),
    [
        (GraphOptions(), "float", ["batch", "patches", 3, 32, 32]),
        (GraphOptions(patches=9, batch=1), "float", [1, 9, 3, 32, 32]),
        (GraphOptions(patches="single"), "float", ["batch", 3, 32, 32]),
        (GraphOptions("uint8", batch=4), "uint8", [4, "patches", 32, 32, 3]),
        (GraphOptions("uint8", patches="single", batch=2), "uint8", [2, 32, 32, 3]),
    ],
)
def test_what_a_graph_takes_is_as_asked_and_its_scores_are_the_models(model_of, graph_of, options, kind, shape):
    path = graph_of(SMALL, True, options)
    assert interface(path)[0] == [(("pixel_values"), f"tensor({kind})", shape)]
    model = model_of(SMALL, True)
    views = patches(7, 9, 32)
    expected, given = model.scorer().score(views), load_scorer(str(path)).score(views)
    np.testing.assert_allclose(given.log_odds, expected.log_odds, atol=1e-3)
    if options.patches != 9:
        np.testing.assert_allclose(given.patch_log_odds, expected.patch_log_odds, atol=1e-3)


@pytest.mark.parametrize("backbone", OWN_BACKBONES)
def test_a_central_difference_is_one_convolution_of_the_graph(graph_of, backbone):
    nodes = collections.Counter(node.op_type for node in onnx.load(graph_of(backbone)).graph.node)
    # Beside them those of the attention to three levels; nothing is left of differences and batch norms.
    assert nodes["Conv"] == {"cdcn": 10, "cdcnpp": 11 + 3, "dc_cdn": 2 * 10}[backbone]
    assert not nodes["BatchNormalization"] and not nodes["Pad"]


def test_branches_are_merged_on_the_way_out_and_the_model_keeps_its_own(model_of, graph_of):
    def convolutions(model):
        return sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())

    graph, network = onnx.load(graph_of("fastvit_t8")), model_of("fastvit_t8").network
    nodes = collections.Counter(node.op_type for node in graph.graph.node)
    assert nodes["Conv"] == convolutions(network.reparameterized()) < convolutions(network)


def test_a_graph_is_one_file_that_says_nothing_of_the_machine(graph_of):
    path = graph_of(SMALL, False)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    content = path.read_bytes()
    places = {os.getcwd(), os.path.dirname(torch.__file__), str(path.parent), os.path.expanduser("~") + os.sep}
    assert not [place for place in places if place.encode() in content]
    assert not re.search(rb"[\w/-]{4,}\.py\b", content)
    names = {entry.key for node in onnx.load(path).graph.node for entry in node.metadata_props}
    assert names == {"module"}


def test_a_graph_is_written_in_the_opset_that_was_asked_for(graph_of):
    for options in (GraphOptions(), GraphOptions(opset=21)):
        graph = onnx.load(graph_of(SMALL, True, options))
        assert {entry.domain: entry.version for entry in graph.opset_import}[""] == options.opset
        onnx.checker.check_model(graph)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "jpeg"}, "the input is 'jpeg'"),
        ({"patches": 0}, "patches is 0"),
        ({"batch": 0}, "the static batch is 0"),
        ({"input": "picture", "batch": 1}, "one picture at a time"),
        ({"opset": 17}, "opset is 17"),
        ({"precision": "bfloat16"}, "precision is 'bfloat16'"),
    ],
)
def test_options_that_no_graph_has_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GraphOptions(**options)
