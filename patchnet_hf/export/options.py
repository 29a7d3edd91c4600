"""What an exported graph is to take and give."""

from dataclasses import dataclass, field

from ..inference.graph_metadata import INPUTS
from ..inference.graph_outputs import GraphOutput


@dataclass(frozen=True)
class GraphOptions:
    """
    Interface of an exported graph.

    Args:
        input: `"float"`: `pixel_values` as the image processor gives them, `(batch, patches, 3, P, P)` float32.
            `"uint8"`: RGB patches `(batch, patches, P, P, 3)`, normalised in the graph. `"picture"`: one RGB face
            crop `image`, `(height, width, 3)` uint8 of any size; padding, patches and normalisation are in the graph.
        output: what it gives for a capture; a graph of pictures also gives it for each patch.
        patches: patches of a capture: a number, `"any"` number, or `"single"`, whose input has no such dimension.
            Not for pictures.
        batch: captures in each run, or `None` for any number. Not for pictures, which come one by one.
        opset: version of the ONNX operator set; 18 at least.
        precision: of the backbone, `"float32"` or `"float16"`; the rest is float32.

    Raises:
        ValueError: an option has no such value, or isn't for this input.
    """

    input: str = "float"
    output: GraphOutput = field(default_factory=GraphOutput)
    patches: int | str = "any"
    batch: int | None = None
    opset: int = 18
    precision: str = "float32"

    def __post_init__(self):
        if self.input not in INPUTS:
            raise ValueError(f"the input is {self.input!r}; expected one of {', '.join(INPUTS)}")
        if self.patches not in ("any", "single") and not (isinstance(self.patches, int) and self.patches > 0):
            raise ValueError(f"patches is {self.patches!r}; expected a positive number, any or single")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"the static batch is {self.batch}; expected at least 1")
        if self.input == "picture" and (self.patches != "any" or self.batch is not None):
            raise ValueError("a self-contained graph takes one picture at a time: leave patches and batch out")
        if self.opset < 18:
            raise ValueError(f"opset is {self.opset}; expected at least 18")
        if self.precision not in ("float32", "float16"):
            raise ValueError(f"precision is {self.precision!r}; expected float32 or float16")
