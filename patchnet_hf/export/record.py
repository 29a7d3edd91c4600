"""What is said of an export: `export.json`, and the same for people."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ..evaluation.metrics_file import LIBRARIES
from ..inference.onnx_scorer import OnnxScorer
from ..inference.scorer import Scorer
from ..json_files import finite
from ..versions import versions_of
from .captures import ExportData
from .comparison import Comparison
from .parity import Parity
from .settings import ExportSettings


@dataclass(frozen=True, eq=False)
class Export:
    """
    An exported model.

    Attributes:
        graph: as it was written.
        reference: the model.
        settings: as given.
        parity: how far both are apart on the captures that the graph was checked on.
        data: the captures that were asked for.
        comparison: of both on them.
        command: that asked for it.
    """

    graph: OnnxScorer
    reference: Scorer
    settings: ExportSettings
    parity: Parity
    data: ExportData | None = None
    comparison: Comparison | None = None
    command: str = ""

    def as_json(self) -> dict:
        """For `export.json`: numbers that aren't finite are `None`."""
        calibration, drawn = None, self.data and self.data.drawn
        if drawn is not None:
            calibration = {
                "dataset": self.data.calibrated_on,
                "captures": len(drawn),
                "attack_types": self.data.drawn_counts(),
                "seed": self.settings.seed,
            }
        compared = None
        if self.comparison is not None:
            compared = {"dataset": self.data.given, "left_out": self.data.left_out, **self.comparison.as_json()}
        content = {
            "model": self.reference.description(),
            "graph": self.graph.description() | self._file() | self.graph.interface(),
            "metadata": self.graph.metadata.properties(),
            "checked": asdict(self.parity),
            "calibrated_on": calibration,
            "comparison": compared,
            "versions": versions_of(LIBRARIES),
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "command": self.command,
        }
        return finite(content)

    def text(self) -> str:
        """What was made and how it compares."""
        file = self._file()
        lines = [f"{self.graph.name}: {file['precision']}, {file['size_bytes'] / 1e6:.1f} MB, opset {file['opset']}"]
        for verb, nodes in zip(("takes", "gives"), self.graph.interface().values(), strict=True):
            shown = (f"{name} {node['type']} ({_shape(node['shape'])})" for name, node in nodes.items())
            lines.append(f"  {verb} {', '.join(shown)}")
        apart = f"scores differ from PyTorch's by {self.parity.score:.2g} at most"
        lines.append(f"checked on {self.parity.captures} captures: {apart}")
        if self.data is not None and self.data.drawn is not None:
            counts = ", ".join(f"{count} {kind}" for kind, count in self.data.drawn_counts().items())
            lines.append(f"calibrated on {len(self.data.drawn)} captures of {self.data.calibrated_on}: {counts}")
            if self.data.left_out:
                lines.append(f"{self.data.left_out} of them are in {self.data.given}, and left out below")
        if self.comparison is not None:
            lines += ["", self.comparison.text()]
        return "\n".join(lines)

    def _file(self) -> dict:
        return {
            "precision": self.graph.metadata.precision,
            "size_bytes": self.graph.path.stat().st_size,
            "opset": self.settings.opset,
        }


def _shape(dimensions: list) -> str:
    return ", ".join(map(str, dimensions)) + ("," if len(dimensions) == 1 else "")
