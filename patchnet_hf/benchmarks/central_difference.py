"""The job behind `scripts/benchmark.py central-difference`: one convolution against the two that define it."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..models import PatchNetConfig
from ..models.backbone_patchnet import create_backbone
from ..models.central_difference_patchnet import CentralDifferenceConv2d
from ..text_table import counted
from .machine import Machine, torch_threads, usable_cores
from .one_table import OneTable
from .timing import Timing, interleaved

FOLDED, WRITTEN_OUT = "one convolution", "two convolutions"
FORWARD, BACKWARD = "forward", "forward and backward"
HEADER = ("pass", f"{WRITTEN_OUT}, median ms", f"{FOLDED}, median ms", "times as fast")
PATCH_SIZE, PATCHES, REPEATS = 160, 9, 30
# How many times as fast one convolution has to be forward.
LEAST_RATIO = 1.3
# Share of the largest output by which the two forms may differ: rounding in float32.
TOLERANCE = 1e-5


class TwoConvolutions(nn.Module):
    """
    A central difference convolution as it is written: that of its neighbours, and of the centre one by the summed
    weights, which is taken off.

    Args:
        convolution: whose weights and theta it has, copies of them.
    """

    def __init__(self, convolution: CentralDifferenceConv2d):
        super().__init__()
        self.theta = convolution.theta
        self.weight = deepcopy(convolution.weight)

    def forward(self, features: Tensor) -> Tensor:
        centre = F.conv2d(features, self.weight.sum(dim=(2, 3), keepdim=True))
        return F.conv2d(features, self.weight, padding=1) - self.theta * centre


@dataclass(frozen=True)
class CentralDifferenceBenchmark(OneTable):
    """
    A measurement of CDCN's first layer.

    Attributes:
        patch_size, patches: side of a patch in pixels, and how many there are in a batch.
        machine: what it ran on.
        timings: times by pass (`"forward"`, `"forward and backward"`) and form (`"one convolution"`, `"two
            convolutions"`).
    """

    header = HEADER

    patch_size: int
    patches: int
    machine: Machine
    timings: dict[str, dict[str, Timing]]

    def ratio(self, name: str) -> float:
        """How many times as fast one convolution is in a pass: the quotient of the medians."""
        return self.timings[name][WRITTEN_OUT].median / self.timings[name][FOLDED].median

    @property
    def is_slow(self) -> bool:
        """Whether one convolution misses the bar: forward it is less than 1.3 times as fast."""
        return not self.ratio(FORWARD) >= LEAST_RATIO

    @property
    def repeats(self) -> int:
        """Timed calls of each."""
        return len(self.timings[FORWARD][FOLDED].seconds)

    def as_json(self) -> dict:
        return {
            "benchmark": "central-difference",
            "machine": self.machine.as_json(),
            "settings": {"patch_size": self.patch_size, "patches": self.patches, "repeats": self.repeats},
            "passes": {
                name: {
                    "times_as_fast": self.ratio(name),
                    "forms": {
                        form: {
                            "median_ms": 1000 * timing.median,
                            "ms": [1000 * float(seconds) for seconds in timing.seconds],
                        }
                        for form, timing in of_pass.items()
                    },
                }
                for name, of_pass in self.timings.items()
            },
        }

    def cells(self) -> list[list[str]]:
        """Of the table."""
        return [
            [
                name,
                *(f"{1000 * of_pass[form].median:.2f}" for form in (WRITTEN_OUT, FOLDED)),
                f"{self.ratio(name):.2f}",
            ]
            for name, of_pass in self.timings.items()
        ]

    def title(self) -> str:
        batch = f"{counted(self.patches, 'patch', 'patches')} of {self.patch_size} x {self.patch_size}"
        return f"CDCN's first layer on {batch}, {counted(self.repeats, 'call')} of each in turn"


def measure_central_difference(
    patch_size: int = PATCH_SIZE, patches: int = PATCHES, repeats: int = REPEATS, threads: int | None = None
) -> CentralDifferenceBenchmark:
    """
    Measures CDCN's first layer, whose kernel holds the difference, against the two convolutions of its definition, on
    patches as the image processor lays them out (the channels last). Both are called in turn, once they have been
    found to give the same.

    Args:
        patch_size: side of a patch in pixels.
        patches: in a batch.
        repeats: timed calls of each.
        threads: that PyTorch computes with. `None`: one for each core that may be used.

    Raises:
        InputError: a number is below 1.
    """
    threads = usable_cores() if threads is None else threads
    numbers = {"patch size": patch_size, "patches": patches, "repeats": repeats, "threads": threads}
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} is {value}; expected at least 1")
    folded = create_backbone(PatchNetConfig(backbone="cdcn")).stem.convolution
    forms = {WRITTEN_OUT: TwoConvolutions(folded), FOLDED: folded}
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(patches, 3, patch_size, patch_size, generator=generator).to(memory_format=torch.channels_last)
    machine = Machine.here(threads)
    with torch_threads(threads):
        gradient = _check(forms, batch)
        calls = {
            (name, form): of_pass(layer, batch, gradient)
            for name, of_pass in ((FORWARD, _forward), (BACKWARD, _forward_and_backward))
            for form, layer in forms.items()
        }
        found = interleaved(calls, repeats)
    timings = {name: {form: found[name, form] for form in forms} for name in (FORWARD, BACKWARD)}
    return CentralDifferenceBenchmark(patch_size, patches, machine, timings)


def _check(forms: dict[str, nn.Module], batch: Tensor) -> Tensor:
    """Makes sure that both give the same, and returns it."""
    with torch.no_grad():
        expected, given = (forms[form](batch) for form in (WRITTEN_OUT, FOLDED))
    torch.testing.assert_close(given, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)
    return expected


def _forward(layer: nn.Module, batch: Tensor, gradient: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def run() -> Tensor:
        return layer(batch)

    return run


def _forward_and_backward(layer: nn.Module, batch: Tensor, gradient: Tensor) -> Callable[[], None]:
    def run() -> None:
        layer.zero_grad()
        layer(batch).backward(gradient)

    return run
