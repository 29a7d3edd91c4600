"""What the one file says of itself, read by onnx and json alone."""

import json
import math
import shutil

import numpy as np
import pytest

from patchnet_hf import __version__
from patchnet_hf.errors import InputError
from patchnet_hf.export.options import GraphOptions
from patchnet_hf.inference.graph_metadata import GraphMetadata
from patchnet_hf.inference.graph_outputs import GraphOutput
from patchnet_hf.inference.scorers import load_scorer

onnx = pytest.importorskip("onnx")


def properties_of(path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_file_tells_a_consumer_all_that_it_needs(graph_of, model_of):
    said = properties_of(graph_of("test_resnet", True, GraphOptions("uint8", GraphOutput("sigmoid", 1.5))))
    assert json.loads(said["labels"]) == ["spoof", "live"]
    assert (said["input"], said["output"], said["precision"]) == ("uint8", "sigmoid", "float32")
    assert said["patchnet_hf_version"] == __version__
    processor = model_of("test_resnet", True).processor
    preprocessing = json.loads(said["preprocessing"])
    assert preprocessing["patch_size"] == 32 and preprocessing["grid"] == 3 and preprocessing["mode"] == "patches"
    assert preprocessing["image_mean"] == processor.image_mean and preprocessing["image_std"] == processor.image_std
    assert float(said["decision_threshold"]) == 0.3
    # The threshold's log-odds in units of what the graph gives, at which 1.5 is 0.95.
    by_hand = 1 / (1 + 19 ** (-math.log(0.3 / 0.7) / 1.5))
    assert float(said["output_threshold"]) == pytest.approx(by_hand)


def test_verdicts_by_the_output_threshold_are_those_of_the_model(graph_of, model_of):
    views = np.random.default_rng(1).integers(0, 256, (20, 9, 32, 32, 3), dtype=np.uint8)
    views = (views * np.linspace(0.05, 1, 20)[:, None, None, None, None]).astype(np.uint8)
    model = model_of("test_resnet", True)
    live = model.scorer().score(views).log_odds >= math.log(0.3 / 0.7)
    for output in (GraphOutput(), GraphOutput("sigmoid", 1.5)):
        path = graph_of("test_resnet", True, GraphOptions("uint8", output))
        (values,) = load_scorer(str(path)).session.run([output.name], {"pixel_values": views})
        values = values[:, 1] - values[:, 0] if output.kind == "logits" else values
        assert ((values >= float(properties_of(path)["output_threshold"])) == live).all()


def test_a_graph_alone_is_loaded_with_its_model_and_processor(graph_of, model_of, tmp_path):
    alone = shutil.copy(graph_of("test_resnet", True), tmp_path / "any_name.onnx")
    model, scorer = model_of("test_resnet", True), load_scorer(str(alone))
    assert scorer.config.to_diff_dict() == model.network.config.to_diff_dict()
    assert scorer.processor.to_dict() == model.processor.to_dict()


def test_metadata_are_read_back_as_they_were_written(model_of):
    network, processor = model_of("test_resnet", True)
    written = GraphMetadata(network.config, processor, "picture", GraphOutput("linear", 0.1 + 0.2), "1.2", "int8")
    read = GraphMetadata.parse(written.properties())
    assert (read.input, read.output, read.version, read.precision) == ("picture", written.output, "1.2", "int8")
    assert read.config.to_diff_dict() == network.config.to_diff_dict()


def test_how_faces_are_resized_is_read_back(model_of):
    network, processor = model_of("test_resnet", True)
    processor = type(processor)(mode="resize", patch_size=32, resize_size=40, resampling="area")
    properties = GraphMetadata(network.config, processor, "float", GraphOutput("logits"), "1.2").properties()
    assert GraphMetadata.parse(properties).processor.resampling == "area"
    # Graphs of earlier versions don't say.
    earlier = json.loads(properties["preprocessing"])
    del earlier["resampling"]
    assert GraphMetadata.parse({**properties, "preprocessing": json.dumps(earlier)}).processor.resampling == "bilinear"


def test_a_graph_of_other_exporters_has_none():
    assert GraphMetadata.parse({"description": "of someone else"}) is None


@pytest.mark.parametrize("broken", [{"input": "jpeg"}, {"config": "{"}, {"output": "odds"}, {"output_reach": "far"}])
def test_broken_metadata_are_one_line(graph_of, tmp_path, broken):
    graph = onnx.load(graph_of("test_resnet", True))
    onnx.helper.set_model_props(graph, {entry.key: entry.value for entry in graph.metadata_props} | broken)
    onnx.save(graph, tmp_path / "broken.onnx")
    with pytest.raises(InputError, match=r"metadata of .*broken\.onnx are broken") as error:
        load_scorer(str(tmp_path / "broken.onnx"))
    assert "\n" not in str(error.value)
