"""What a measurement of training compares, and on what."""

from dataclasses import dataclass, field

from ..errors import InputError, did_you_mean
from ..inference.scorers import chosen_device
from ..training.options import PRECISIONS
from .inference_settings import DEVICES
from .machine import usable_cores

# By the names of the JSON file, in the order of the table.
WAYS = {
    "reference": "the reference's way, float32, views in memory",
    "bare_float32": "bare loop, float32, views in memory",
    "bare": "bare loop, views in memory",
    "trainer": "Trainer, views in memory",
    "files": "Trainer, JPEG captures",
}
REFERENCE, BARE_FLOAT32, BARE, TRAINER, FILES = WAYS
STEPS = {"cpu": 4, "cuda": 100}
# Steps of a turn before the timed ones; batches that each worker of a DataLoader has ready by default; batches that
# accelerate fetches ahead.
WARM_UP, PREFETCHED, AHEAD = 2, 2, 1


@dataclass(frozen=True)
class TrainingSettings:
    """
    Args:
        backbone: an architecture of timm.
        backbone_kwargs: further arguments of it.
        patch_size: side of a patch in pixels.
        batch_size: captures in a step, of two views each.
        precision: as of `scripts/train.py`; the reference's way and one bare loop compute in float32 whatever it is.
        compile: whether the network is compiled, but for those two.
        workers: that decode the JPEG captures.
        size: `(width, height)` of the JPEG captures in pixels.
        steps: timed steps of a turn. `None`: 4 on the processor, 100 on a GPU.
        repeats: turns of each way.
        device: `"cpu"` or `"cuda"`, what computes.
        threads: that PyTorch computes with. `None`: one for each core that may be used.

    Raises:
        InputError: an option has no such value.
    """

    backbone: str = "resnet18"
    backbone_kwargs: dict = field(default_factory=dict)
    patch_size: int = 160
    batch_size: int = 32
    precision: str = "auto"
    compile: bool = False
    workers: int = 1
    size: tuple[int, int] = (640, 480)
    steps: int | None = None
    repeats: int = 5
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self):
        least = {"patch_size": 1, "batch_size": 2, "workers": 0, "steps": 1, "repeats": 1, "threads": 1}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise InputError(f"{name} is {value}; expected at least {minimum}")
        if min(self.size) < self.patch_size:
            raise InputError(
                f"captures of {self.size[0]} x {self.size[1]} are smaller than a patch of {self.patch_size}"
            )
        for name, known in (("precision", PRECISIONS), ("device", DEVICES)):
            value = getattr(self, name)
            if value not in known:
                hint = did_you_mean(value, known) or f"; expected one of {', '.join(known)}"
                raise InputError(f"{name} is {value!r}{hint}")
        if (self.precision, self.device) == ("float16", "cpu"):
            raise InputError("precision float16 needs a GPU; expected auto, float32 or bfloat16 on the processor")
        chosen_device(self.device)

    @property
    def timed_steps(self) -> int:
        """Of a turn."""
        return STEPS[self.device] if self.steps is None else self.steps

    @property
    def prefetched(self) -> int:
        """Batches that workers have ready when a turn begins."""
        return PREFETCHED * self.workers

    @property
    def used_threads(self) -> int:
        return usable_cores() if self.threads is None else self.threads
