"""What an exported graph says of itself in its metadata, so that the one file is enough."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..models import PatchNetConfig, PatchNetImageProcessor
from .graph_outputs import GraphOutput

INPUTS = ("float", "uint8", "picture")
# A graph that other exporters made has none of these.
REQUIRED = ("config", "preprocessing", "input", "output")
# Settings of the image processor that decide what a graph is given or does.
SETTINGS = (
    "mode", "patch_size", "grid", "resize_size", "resampling",
    "face_expand", "rescale_factor", "image_mean", "image_std",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GraphMetadata:
    """
    Metadata of an exported graph.

    Attributes:
        config: the model's configuration, with threshold and calibration; the calibration is inside the graph.
        processor: the image processor whose views the graph was made for.
        input: `"float"` normalised patches, `"uint8"` patches, or `"picture"`, one uint8 face crop of any size.
        output: what the graph gives.
        version: of patchnet_hf that wrote it.
        precision: of the backbone, `"float32"`, `"float16"` or `"int8"`; the rest of a graph is float32.
    """

    config: PatchNetConfig
    processor: PatchNetImageProcessor
    input: str
    output: GraphOutput
    version: str
    precision: str = "float32"

    def properties(self) -> dict[str, str]:
        """
        As names and texts, which is all that ONNX's `metadata_props` hold.

        Beside what [`GraphMetadata.parse`] reads back there are, for consumers in other languages: `labels`, the
        names of the two classes; `decision_threshold`, a probability; and `output_threshold`, the same in units of
        the graph's output: the capture is accepted as live when the output (for logits, their difference live minus
        spoof) is at least this.
        """
        threshold = self.config.decision_threshold
        reach = {} if self.output.reach is None else {"output_reach": repr(self.output.reach)}
        return {
            "model_type": self.config.model_type,
            "patchnet_hf_version": self.version,
            "labels": json.dumps([self.config.id2label[index] for index in sorted(self.config.id2label)]),
            "decision_threshold": repr(threshold),
            "precision": self.precision,
            "input": self.input,
            "output": self.output.kind,
            "output_threshold": repr(self.output.value(math.log(threshold / (1 - threshold)))),
            **reach,
            "preprocessing": json.dumps({name: getattr(self.processor, name) for name in SETTINGS}),
            "config": json.dumps(self.config.to_diff_dict(), sort_keys=True),
        }

    @classmethod
    def parse(cls, properties: Mapping[str, str]) -> "GraphMetadata | None":
        """
        Of the properties of a graph; `None` when they aren't ours.

        Raises:
            ValueError: they are ours but broken.
        """
        if not all(name in properties for name in REQUIRED):
            return None
        if properties["input"] not in INPUTS:
            raise ValueError(f"the metadata says that its input is {properties['input']!r}; expected one of {INPUTS}")
        reach = properties.get("output_reach")
        return cls(
            PatchNetConfig.from_dict(json.loads(properties["config"])),
            PatchNetImageProcessor(**json.loads(properties["preprocessing"])),
            properties["input"],
            GraphOutput(properties["output"], None if reach is None else float(reach)),
            properties.get("patchnet_hf_version", ""),
            properties.get("precision", "float32"),
        )
