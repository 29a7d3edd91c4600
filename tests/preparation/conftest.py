"""Pictures, trees of files and clips to prepare."""

import csv
import importlib.util
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

spec = importlib.util.spec_from_file_location("jpeg_coefficients", Path(__file__).with_name("jpeg_coefficients.py"))
of_coefficients = importlib.util.module_from_spec(spec)
# Its dataclass looks for its own module.
sys.modules[spec.name] = of_coefficients
spec.loader.exec_module(of_coefficients)


def picture(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """A smooth, colourful picture with some noise, `(height, width, 3)` uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(height // 8, 2), max(width // 8, 2), 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + random.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, image_format: str = "jpeg", **options) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, image_format, **options)
    return stream.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def write_video(path: Path, frames: int = 12, width: int = 64, height: int = 48, seed: int = 0, codec: str = "FFV1"):
    """A clip whose frames are known exactly: a lossless codec in a container that any name may have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_suffix(".avi") if path.suffix.lower() != ".avi" else path
    writer = cv2.VideoWriter(str(work), cv2.VideoWriter_fourcc(*codec), 25, (width, height))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(picture(width, height, seed=1000 * seed + index)[:, :, ::-1])
    writer.release()
    work.rename(path)
    return path


def read_list(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def make():
    """Functions that make pictures, files and clips, and read lists."""

    class Make:
        picture = staticmethod(picture)
        encoded = staticmethod(encoded)
        write = staticmethod(write)
        write_video = staticmethod(write_video)
        read_list = staticmethod(read_list)

    return Make


@pytest.fixture(scope="session")
def read_coefficients() -> Callable:
    """Reads the coefficients of a JPEG file without any library under test."""
    return of_coefficients.read_coefficients


@pytest.fixture(scope="session")
def run_script(project) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `scripts/prepare_dataset.py`, or another script, in a process of its own."""

    def run(*arguments, script: str = "prepare_dataset.py") -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(project / "scripts" / script), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    return run


@pytest.fixture
def script_here(project, capsys, monkeypatch) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `scripts/prepare_dataset.py` in this process, which has the libraries loaded."""

    def run(*arguments) -> subprocess.CompletedProcess:
        script = str(project / "scripts" / "prepare_dataset.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(script, run_name="__main__")
        return subprocess.CompletedProcess(sys.argv, end.value.code, *capsys.readouterr())

    return run
