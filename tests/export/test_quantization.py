"""Graphs of 8 bits: the backbone alone is quantised, and what it says stays close to what the model says."""

import json

import numpy as np
import pytest
from scipy.special import expit

from patchnet_hf.evaluation.scoring import score_dataset
from patchnet_hf.export.exporter import export_graph, module_of
from patchnet_hf.export.options import GraphOptions
from patchnet_hf.export.quantization import quantize_graph, quantized_nodes
from patchnet_hf.inference.graph_outputs import GraphOutput
from patchnet_hf.inference.scorers import load_scorer

onnx = pytest.importorskip("onnx")

PICTURE = GraphOptions("picture", GraphOutput("probability"))


def quantized(path, target, calibration):
    """The scorers of a graph and of its quantised form."""
    graph = load_scorer(str(path))
    feeds = (feed for capture in calibration for feed in graph.feeds([graph.prepare(capture, None)]))
    quantize_graph(path, target, graph.metadata, feeds)
    return graph, load_scorer(str(target))


def error_rates(scored) -> tuple[float, float]:
    """APCER of the worst attack type and BPCER at a probability of 0.5, in percent."""
    accepted = scored.scores >= 0
    types = np.array(scored.attack_types)
    apcer = max(accepted[types == kind].mean() for kind in ("print", "replay"))
    return 100 * apcer, 100 * (~accepted[types == "bonafide"]).mean()


@pytest.fixture(scope="module")
def of_learned(learned, textures, tmp_path_factory):
    """The self-contained graph of a model that has learned something, and its quantised form."""
    folder = tmp_path_factory.mktemp("int8")
    export_graph(*learned, folder / "float.onnx", PICTURE)
    random = np.random.default_rng(5)
    calibration = [textures.texture(kind, random) for kind in textures.KINDS for _ in range(12)]
    return quantized(folder / "float.onnx", folder / "int8.onnx", calibration)


def test_errors_stay_within_two_points(learned, of_learned, textures):
    captures = textures.textures(160, seed=2)
    expected, given = (score_dataset(scorer, captures, "test") for scorer in (learned.scorer(), of_learned[1]))
    (apcer, bpcer), (apcer8, bpcer8) = error_rates(expected), error_rates(given)
    assert 1 < (apcer + bpcer) / 2 < 20, "the model errs, but seldom"
    assert (apcer8 + bpcer8) / 2 <= (apcer + bpcer) / 2 + 2
    assert 1e-4 < np.abs(expit(given.scores) - expit(expected.scores)).mean() < 0.03


def test_pixels_and_head_stay_float_and_weights_are_int8(of_learned):
    graph = onnx.load(of_learned[1].path).graph
    made_by = {output: node for node in graph.node for output in node.output}
    weights = {entry.name: entry for entry in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in convolutions:
        pixels, kernel = (made_by[name] for name in node.input[:2])
        assert pixels.op_type == kernel.op_type == "DequantizeLinear"
        assert weights[kernel.input[0]].data_type == onnx.TensorProto.INT8
        assert weights[pixels.input[2]].data_type == onnx.TensorProto.UINT8, "of activations, by their zero point"
        assert len(weights[kernel.input[1]].dims) == 1, "a scale for each channel"
    float_nodes = [node for node in graph.node if not module_of(node).startswith("model.patchnet.backbone")]
    quantizing = [node for node in float_nodes if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert convolutions and quantizing, "the head's product is there"
    for node in quantizing:
        inputs = [made_by[name].op_type for name in node.input if name in made_by]
        assert "DequantizeLinear" not in inputs
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}, "operators that every runtime has"


def test_interface_and_metadata_are_those_of_the_float_graph(of_learned):
    graph, small = of_learned
    assert small.interface() == graph.interface()
    expected = graph.metadata.properties() | {"precision": "int8"}
    assert {entry.key: entry.value for entry in onnx.load(small.path).metadata_props} == expected
    assert json.loads(expected["labels"]) == ["spoof", "live"]


@pytest.mark.parametrize("backbone", ["fastvit_t8", "test_convnext", "test_vit"])
def test_backbones_of_all_kinds_are_quantised(graph_of, model_of, textures, tmp_path, backbone):
    random = np.random.default_rng(3)
    captures = [textures.texture(kind, random) for kind in textures.KINDS for _ in range(4)]
    graph, small = quantized(graph_of(backbone), tmp_path / "int8.onnx", captures[::2])
    assert small.path.stat().st_size < (0.4 if backbone == "fastvit_t8" else 0.8) * graph.path.stat().st_size
    views = [graph.prepare(capture, None) for capture in captures]
    expected, given = (scorer.score(views).log_odds for scorer in (graph, small))
    assert np.corrcoef(expected, given)[0, 1] > 0.95
    assert np.abs(expit(expected) - expit(given)).mean() < 0.03
    full = onnx.load(graph.path).graph
    constants, names = {entry.name for entry in full.initializer}, quantized_nodes(full)
    sums = [node for node in full.node if node.op_type == "Add" and node.name in names]
    assert sums and not any(constants.intersection(node.input) for node in sums), "of branches alone, not of biases"


def test_a_graph_without_a_backbone_is_not_quantised(of_learned, tmp_path):
    graph = onnx.load(of_learned[0].path)
    for node in graph.graph.node:
        del node.metadata_props[:]
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="no convolution or matrix product of a backbone"):
        quantize_graph(tmp_path / "foreign.onnx", tmp_path / "int8.onnx", of_learned[0].metadata, iter([]))
    assert not (tmp_path / "int8.onnx").exists()
