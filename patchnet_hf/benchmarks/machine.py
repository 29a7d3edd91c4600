"""What a measurement ran on; never who or where."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..text_table import counted

PACKAGES = ("torch", "transformers", "timm", "onnxruntime", "onnxruntime-gpu")
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """
    Attributes:
        processor: model, as it calls itself.
        cores: how many this process may use.
        threads: how many PyTorch and ONNX Runtime compute with.
        versions: of Python and of the packages that compute, those that are installed.
        gpu: its name, where one computes.
        load: average number of processes that wanted to run in the minute before; `None` where the system doesn't
            tell.
    """

    processor: str
    cores: int
    threads: int
    versions: dict[str, str]
    gpu: str | None = None
    load: float | None = None

    @classmethod
    def here(cls, threads: int, device: str = "cpu") -> "Machine":
        """This machine, where so many threads and such a device are used."""
        versions = {"Python": platform.python_version()}
        for name in PACKAGES:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        gpu = torch.cuda.get_device_name() if device == "cuda" else None
        return cls(_processor(), usable_cores(), threads, versions, gpu, load)

    def as_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        """One line."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        load = "" if self.load is None else f", load {self.load:.1f} before"
        gpu = "" if self.gpu is None else f"{self.gpu}, with "
        cores, threads = counted(self.cores, "core"), counted(self.threads, "thread")
        return f"{gpu}{self.processor}, {cores}, {threads}{load}; {versions}"


def usable_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """PyTorch computes with so many threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processor() -> str:
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
