"""Graphs whose backbone computes in 8 bits: static quantisation by ONNX Runtime, calibrated on captures."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ..inference.graph_metadata import GraphMetadata
from .exporter import module_of, write_graph

if TYPE_CHECKING:
    import onnx

# Convolutions and matrix products are where time and weights are; what lies between two of them in most networks is
# quantised too, so that they hand on 8 bits. Softmax, normalisation layers and activation functions other than ReLU
# stay float: they lose accuracy and gain no time.
OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool")
BACKBONE = "model.patchnet.backbone"


def quantize_graph(
    source: Path, target: Path, metadata: GraphMetadata, feeds: Iterable[dict[str, np.ndarray]]
) -> GraphMetadata:
    """
    Quantises the backbone of an exported graph, whatever its input and output.

    Weights are int8 with a scale for each channel, activations uint8 with a range for each tensor: the smallest and
    largest value that the captures give. The rest of the graph stays float. Written as QDQ: float operators between
    pairs of QuantizeLinear and DequantizeLinear, which runtimes merge into those of 8 bits that they have.

    Args:
        source: graph of [`export_graph`] in float32.
        target: what is written.
        metadata: of `source`.
        feeds: inputs of the graph to calibrate on, see [`OnnxScorer.feeds`]; at least one.

    Returns:
        The metadata of the new graph, as they stand in the file.

    Raises:
        ValueError: the graph has no backbone to quantise.
        OSError: the file can't be written.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Captures(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    nodes = quantized_nodes(onnx.load(source).graph)
    if not nodes:
        raise ValueError(f"{source.name} has no convolution or matrix product of a backbone to quantise")
    with _quiet_quantizer(), TemporaryDirectory(dir=target.parent) as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        # Shapes alone: torch's exporter has merged what can be merged, and ONNX Runtime's optimiser would turn
        # operators into its own, which other runtimes lack.
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            Captures(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        metadata = replace(metadata, precision="int8")
        write_graph(onnx.load(quantized), metadata, target)
    return metadata


def quantized_nodes(graph: "onnx.GraphProto") -> list[str]:
    """Names of the nodes that are quantised: those of the backbone whose inputs come from captures or are weights."""
    constants = {entry.name for entry in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    names = []
    for node in graph.node:
        if node.op_type not in OPERATORS or not f"{module_of(node)}.".startswith(f"{BACKBONE}."):
            continue
        # Sums of two branches alone: a constant is added inside activation functions, and to a product its bias.
        if node.op_type == "Add" and constants.intersection(node.input):
            continue
        names.append(node.name)
    return names


@contextmanager
def _quiet_quantizer() -> Iterator[None]:
    """Without the quantiser's notes on its own workings, which it gives to the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
