"""What a measurement of inference compares, and over what."""

import math
from dataclasses import dataclass

from ..errors import InputError, did_you_mean
from .machine import usable_cores

# By the names of the command line, in the order of the table.
VARIANTS = {
    "eager": "PyTorch, float32",
    "bf16": "PyTorch, bfloat16 autocast",
    "compile": "torch.compile, float32",
    "onnx": "ONNX Runtime, float32",
    "int8": "ONNX Runtime, int8",
    "pipeline": "pipeline(...), float32",
}
BASELINE = "eager"
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class InferenceSettings:
    """
    Args:
        captures: numbers of captures in a batch; each is measured by itself.
        patches: numbers of patches of a capture, likewise; square numbers. `None`: the model's own.
        variants: of `VARIANTS`; PyTorch in float32 is always measured, since all others are compared with it.
        threads: that PyTorch and ONNX Runtime compute with. `None`: one for each core that may be used.
        repeats: timed calls of each.
        warm_up: calls of each before.
        device: `"cpu"` or `"cuda"`, what computes.

    Raises:
        InputError: an option has no such value.
    """

    captures: tuple[int, ...] = (1,)
    patches: tuple[int, ...] | None = None
    variants: tuple[str, ...] = tuple(VARIANTS)
    threads: int | None = None
    repeats: int = 30
    warm_up: int = 3
    device: str = "cpu"

    def __post_init__(self):
        for name in self.variants:
            if name not in VARIANTS:
                known = f"expected some of {', '.join(VARIANTS)}"
                raise InputError(f"variant {name!r} isn't known{did_you_mean(name, VARIANTS) or f'; {known}'}")
        for name, values in (("captures", self.captures), ("patches", self.patches)):
            if values is not None and (not values or min(values) < 1):
                raise InputError(f"{name} is {' '.join(map(str, values)) or 'empty'}; expected at least 1")
        if odd := [count for count in self.patches or () if math.isqrt(count) ** 2 != count]:
            raise InputError(f"patches is {odd[0]}; expected a square number, since patches are a grid")
        for name, least in (("threads", 1), ("repeats", 1), ("warm_up", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; expected at least {least}")
        if self.device not in DEVICES:
            raise InputError(f"device is {self.device}; expected {' or '.join(DEVICES)}")

    @property
    def compared(self) -> list[str]:
        """The variants in the order of the table, the baseline first."""
        return [name for name in VARIANTS if name == BASELINE or name in self.variants]

    @property
    def used_threads(self) -> int:
        return usable_cores() if self.threads is None else self.threads
