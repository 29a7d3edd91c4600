"""What the scripts say where the packages for graphs aren't installed, as after a plain `pip install -e .`."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Imported by Python before anything else: the import system no longer finds these packages.
WITHOUT = """
from importlib.machinery import PathFinder

of_path = PathFinder.find_spec
MISSING = {"onnx", "onnxruntime", "onnxscript", "optimum"}


@staticmethod
def find_spec(name, *rest):
    return None if name.partition(".")[0] in MISSING else of_path(name, *rest)


PathFinder.find_spec = find_spec
"""


@pytest.fixture
def call(project, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def call(script: str, *options) -> subprocess.CompletedProcess:
        command = [sys.executable, f"scripts/{script}", *map(str, options)]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)

    return call


def test_exporting_is_refused_in_one_line_that_says_what_to_install(call, learned_folder, tmp_path):
    done = call("export_onnx.py", "--model", learned_folder, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "export_onnx.py: error: exporting needs onnx and onnxruntime and onnxscript: "
        "pip install 'patchnet_hf[onnxruntime]'"
    ]


def test_a_graph_is_refused_in_one_line_that_says_what_to_install(call, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    done = call("predict.py", "--model", tmp_path / "model.onnx", tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "needs ONNX Runtime: pip install 'patchnet_hf[onnxruntime]'" in line


def test_the_benchmark_measures_what_it_can(call, learned_folder):
    done = call("benchmark.py", "infer", "--model", learned_folder, "--repeats", 1, "--variants", "onnx")
    assert done.returncode == 0, done.stderr
    assert "PyTorch, float32" in done.stdout
    assert "exporting needs onnx" in done.stdout
