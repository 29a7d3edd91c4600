"""Graphs whose backbone is in half precision: half the size, the same interface, and no overflow unnoticed."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from patchnet_hf.export.exporter import export_graph
from patchnet_hf.export.half_precision import half_log_odds, with_half_backbone
from patchnet_hf.export.options import GraphOptions
from patchnet_hf.inference.graph_outputs import GraphOutput
from patchnet_hf.inference.scorers import load_scorer

onnx = pytest.importorskip("onnx")

HALF = GraphOptions(precision="float16")
BACKBONES = ["resnet18", "fastvit_t8", "efficientformerv2_s0", "convnext_tiny"]


@pytest.fixture
def views(textures):
    def views(processor):
        random = np.random.default_rng(4)
        return np.stack([processor.views(textures.texture(kind, random)) for kind in textures.KINDS for _ in range(3)])

    return views


def test_a_graph_of_half_the_size_gives_nearly_the_same(graph_of, model_of, views):
    backbone = "fastvit_t8"
    full, half = graph_of(backbone), graph_of(backbone, False, HALF)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    small, model = load_scorer(str(half)), model_of(backbone)
    assert small.interface() == load_scorer(str(full)).interface(), "inputs and outputs stay float32"
    assert small.metadata.precision == "float16"
    patches = views(model.processor)
    expected, given = model.scorer().score(patches).log_odds, small.score(patches).log_odds
    assert 1e-5 < np.abs(expit(given) - expit(expected)).max() < 0.02


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_of_all_kinds_really_compute_in_half_precision(model_of, views, backbone):
    network, processor = model_of(backbone)
    patches = views(processor)
    expected = model_of(backbone).scorer().score(patches).log_odds
    given = half_log_odds(network, processor.normalize_views(patches))
    assert 1e-6 < np.abs(expit(given) - expit(expected)).max() < 0.02
    assert next(network.parameters()).dtype == torch.float32, "the model stays as it was"


def test_weights_of_the_backbone_alone_are_halved(learned, tmp_path):
    picture = GraphOptions("picture", GraphOutput("probability"), precision="float16")
    export_graph(*learned, tmp_path / "half.onnx", picture)
    graph = onnx.load(tmp_path / "half.onnx").graph
    kinds = {entry.name: entry.data_type for entry in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert {kinds[node.input[1]] for node in convolutions} == {onnx.TensorProto.FLOAT16}
    head = learned.network.classifier.weight.shape
    of_head = [entry.data_type for entry in graph.initializer if sorted(entry.dims) == sorted(head)]
    assert onnx.TensorProto.FLOAT16 not in of_head
    assert [output.type.tensor_type.elem_type for output in graph.output] == [onnx.TensorProto.FLOAT] * 2


def test_a_weight_that_float16_does_not_hold_is_named(model_of):
    network = model_of("test_resnet").network.reparameterized()
    name, weight = next(iter(network.patchnet.backbone.named_parameters()))
    with torch.no_grad():
        weight.view(-1)[0] = 1e5
    with pytest.raises(ValueError, match=f"{name} goes beyond 65504"):
        with_half_backbone(network)


def test_an_activation_that_overflows_shows_although_the_runtime_hides_it(model_of):
    network = model_of("test_resnet").network.reparameterized()
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight *= 6e4 / first.weight.abs().max()
    pixel_values = torch.full((1, 1, 3, 32, 32), 2.0)
    assert network(pixel_values).logits.isfinite().all()
    assert not np.isfinite(half_log_odds(network, pixel_values)).all()
