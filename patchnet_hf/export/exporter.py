"""From a model to an ONNX file, by torch's exporter: the same graph whichever transformers is installed."""

import ast
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.export import Dim

from .. import __version__
from ..inference.graph_metadata import GraphMetadata
from ..models import PatchNetForImageClassification, PatchNetImageProcessor
from ..whole_file import whole_file
from .graph import PatchGraph, PictureGraph
from .half_precision import with_half_backbone
from .options import GraphOptions

# Imported where it is needed: it isn't installed everywhere, and who lacks it is told by what they asked for.
if TYPE_CHECKING:
    import onnx

# What torch's exporter calls the modules that a node came from, and what we call the innermost.
SCOPES = "pkg.torch.onnx.name_scopes"
MODULE = "module"


def export_graph(
    model: PatchNetForImageClassification,
    processor: PatchNetImageProcessor,
    path: str | Path,
    options: GraphOptions | None = None,
) -> GraphMetadata:
    """
    Writes a model as one ONNX file, weights included, with the metadata that a consumer needs.

    A backbone that can be re-parameterised is; `model` itself stays as it is.

    Args:
        model: calibrated or not; the calibration goes into the graph.
        processor: its image processor.
        path: of the file; whole or as it was.
        options: the graph's interface.

    Returns:
        The metadata, as they stand in the file.

    Raises:
        OSError: the file can't be written.
        RuntimeError: torch can't export the backbone.
        ValueError: a weight is beyond what half precision holds, or there are no such operators.
    """
    options = GraphOptions() if options is None else options
    path = Path(path)
    model = model.reparameterized().cpu().float()  # a copy: the caller's stays where it is
    if options.precision == "float16":
        model = with_half_backbone(model)
    module, example, dimensions = _traceable(model, processor, options)
    outputs = [options.output.name] + ([options.output.patch_name] if options.input == "picture" else [])
    name = "image" if options.input == "picture" else "pixel_values"
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=(dimensions,),
            opset_version=options.opset,
            verbose=False,
        )
    metadata = GraphMetadata(model.config, processor, options.input, options.output, __version__, options.precision)
    graph = program.model_proto
    # The exporter leaves a graph as it is, without a word, where it can't convert it.
    (opset,) = (entry.version for entry in graph.opset_import if entry.domain == "")
    if opset != options.opset:
        raise ValueError(f"its operators can't be written as those of opset {options.opset}, but of {opset}")
    _keep_modules_alone(graph)
    write_graph(graph, metadata, path)
    return metadata


def write_graph(graph: "onnx.ModelProto", metadata: GraphMetadata, path: Path) -> None:
    """Writes a graph with these metadata and no others of its own.

    Raises:
        OSError: the file can't be written.
    """
    from onnx.helper import set_model_props

    set_model_props(graph, metadata.properties())
    with whole_file(path) as unfinished:
        unfinished.write_bytes(graph.SerializeToString())


def module_of(node: "onnx.NodeProto") -> str:
    """The module that a node of an exported graph is from, such as `model.patchnet.backbone.stem`."""
    return next((entry.value for entry in node.metadata_props if entry.key == MODULE), "")


def _keep_modules_alone(graph: "onnx.ModelProto") -> None:
    """Of the exporter's notes only each node's module stays: they hold the paths of this machine, in every node."""
    for held in (graph.graph, *graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        del held.metadata_props[:]
    for node in graph.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
        # From the outermost module to the innermost, and at last the operation.
        modules = ast.literal_eval(scopes)[:-1]
        del node.metadata_props[:]
        if modules and modules[-1]:
            node.metadata_props.add(key=MODULE, value=modules[-1])


def _traceable(
    model: PatchNetForImageClassification, processor: PatchNetImageProcessor, options: GraphOptions
) -> tuple[nn.Module, torch.Tensor, dict[int, Dim]]:
    """The module, an input to trace it with, and which dimensions of that stay open."""
    size = processor.patch_size
    if options.input == "picture":
        # Of two sizes that are neither each other's nor the patch's, or the trace would take them for the same.
        image = torch.zeros(size + 3, size + 5, 3, dtype=torch.uint8)
        return PictureGraph(model, processor, options.output), image, {0: Dim("height"), 1: Dim("width")}
    dimensions = {} if options.batch else {0: Dim("batch")}
    shape = [options.batch or 2]
    if options.patches == "any":
        dimensions[1] = Dim("patches")
    if options.patches != "single":
        shape.append(3 if options.patches == "any" else options.patches)
    if options.input == "uint8":
        views = torch.zeros(*shape, size, size, 3, dtype=torch.uint8)
        return PatchGraph(model, processor, options.output), views, dimensions
    views = torch.zeros(*shape, model.config.num_channels, size, size)
    return PatchGraph(model, None, options.output), views, dimensions


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's notes on its own workings; errors come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
