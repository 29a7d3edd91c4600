"""What a user can ask of an export."""

from dataclasses import dataclass, replace

from ..errors import InputError
from ..inference.graph_outputs import OUTPUTS, GraphOutput
from ..models import PatchNetImageProcessor
from .options import GraphOptions

QUANTIZATIONS = ("int8",)
CAPTURES = 128


@dataclass(frozen=True)
class ExportSettings:
    """
    How a model is exported.

    Attributes:
        scores: what the graph gives, one of `OUTPUTS`; `None`: logits, of a self-contained graph probabilities.
        input: `"float"` normalised patches, or `"uint8"`, whose normalisation is in the graph; `None`: float.
        self_contained: the graph takes one picture of any size.
        patches: of a capture: a number, `"any"` or `"single"`; `None`: any.
        static_batch: captures in each run; `None`: any number.
        opset: version of the ONNX operator set.
        dataset: `DIR[:SPLIT]` that scores are rescaled on, that a quantisation is calibrated on, and that the graph is
            compared with the model on.
        quantize: `"int8"`: weights and activations of the backbone in 8 bits.
        calibrate_on: `DIR[:SPLIT]` that a quantisation is calibrated on in place of `dataset`.
        captures: that a quantisation is calibrated on; `None`: `CAPTURES`, and half of the set at most.
        fp16: weights and activations of the backbone in half precision.
        max_acer_increase: by which the graph may be worse than the model, in percentage points.
        seed: of the captures that are drawn.

    Raises:
        InputError: values that don't go together or are outside their range.
    """

    scores: str | None = None
    input: str | None = None
    self_contained: bool = False
    patches: int | str | None = None
    static_batch: int | None = None
    opset: int = GraphOptions.opset
    dataset: str | None = None
    quantize: str | None = None
    calibrate_on: str | None = None
    captures: int | None = None
    fp16: bool = False
    max_acer_increase: float = 2.0
    seed: int = 0

    def __post_init__(self):
        if self.scores not in (None, *OUTPUTS):
            raise InputError(f"scores are {self.scores!r}; expected one of {', '.join(OUTPUTS)}")
        if self.scores in ("linear", "sigmoid") and self.dataset is None:
            raise InputError(
                f"--scores {self.scores} is fitted to the scores of captures: name them by --dataset DIR[:SPLIT]"
            )
        if self.self_contained and (self.input, self.patches, self.static_batch) != (None, None, None):
            raise InputError(
                "a self-contained graph takes one uint8 picture at a time: leave --input, --patches and "
                "--static-batch out"
            )
        if self.quantize not in (None, *QUANTIZATIONS):
            raise InputError(f"quantize is {self.quantize!r}; expected {' or '.join(QUANTIZATIONS)}")
        if self.quantize and self.fp16:
            raise InputError("--quantize int8 and --fp16 are two precisions; choose one")
        if self.quantize and self.dataset is None:
            raise InputError(
                f"--quantize {self.quantize} needs captures, to calibrate it and to compare it with the model: name "
                "them by --dataset DIR[:SPLIT]"
            )
        if not self.quantize and (self.captures is not None or self.calibrate_on is not None):
            raise InputError("--captures and --calibrate-on are for --quantize int8; leave them out")
        if self.captures is not None and self.captures < 1:
            raise InputError(f"captures is {self.captures}; expected at least 1")
        if not self.max_acer_increase >= 0:
            raise InputError(f"max ACER increase is {self.max_acer_increase:g} percentage points; expected 0 or more")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; expected 0 or more")
        try:
            self.graph_options()
        except ValueError as error:
            raise InputError(str(error)) from error

    @property
    def kind(self) -> str:
        """What the graph gives, one of `OUTPUTS`."""
        return self.scores or ("probability" if self.self_contained else "logits")

    @property
    def precision(self) -> str:
        """Of the backbone: `"float32"`, `"float16"` or `"int8"`."""
        return "float16" if self.fp16 else self.quantize or "float32"

    def graph_options(self, reach: float | None = None) -> GraphOptions:
        """
        The interface of the graph.

        Args:
            reach: in log-odds, of scores that are rescaled; left out, theirs is a placeholder.
        """
        output = GraphOutput(self.kind if self.kind in ("logits", "probability") else "logits")
        if self.kind != output.kind and reach is not None:
            output = GraphOutput(self.kind, reach)
        options = GraphOptions("picture" if self.self_contained else self.input or "float", output, opset=self.opset)
        if self.patches is not None:
            options = replace(options, patches=self.patches)
        return replace(options, batch=self.static_batch)

    def check_patches(self, processor: PatchNetImageProcessor) -> None:
        """
        Makes sure that the image processor, by which the graph is loaded again, gives the patches that it takes.

        Raises:
            InputError: it gives another number.
        """
        count = processor.grid**2 if processor.mode == "patches" else 1
        if isinstance(self.patches, int) and self.patches not in (1, count):
            raise InputError(
                f"--patches {self.patches}: the model's image processor makes {count} of a capture; say "
                f"--patches {count}, any, or single"
            )
