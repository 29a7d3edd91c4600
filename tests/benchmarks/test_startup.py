"""What is told of starts, and what is light to import."""

import json
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

import patchnet_hf
from patchnet_hf.benchmarks import everything, startup
from patchnet_hf.benchmarks.data import default_workers
from patchnet_hf.benchmarks.machine import Machine
from patchnet_hf.benchmarks.startup import LIBRARIES, PACKAGE, StartupBenchmark, measure_startup
from patchnet_hf.benchmarks.timing import Timing
from patchnet_hf.errors import InputError

SLOW = {"torch", "transformers", "timm", "datasets"}


def test_the_table_follows_from_the_medians():
    machine = Machine("A processor", cores=2, threads=2, versions={}, load=0.25)
    timings = {LIBRARIES: Timing(np.array([4.0, 3.0, 9.0])), PACKAGE: Timing(np.array([5.0, 5.0, 1.0]))}
    benchmark = StartupBenchmark(machine, timings)
    assert benchmark.text().splitlines()[-1].split()[-2:] == ["5.00", "1.25"]
    assert "| import patchnet_hf | 5.00 | 1.25 |" in benchmark.markdown()
    assert benchmark.as_json()["started"][PACKAGE]["seconds"] == [5.0, 5.0, 1.0]


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Scripts that only end, and nothing to import."""
    monkeypatch.setattr(startup, "LIBRARIES", "import json")
    monkeypatch.setattr(startup, "PACKAGE", "import csv")
    for name in ("train.py", "predict.py"):
        (tmp_path / name).write_text("import sys; print(sys.argv[1])")
    return tmp_path


def test_each_start_is_a_new_process_timed_in_turn(scripts, monkeypatch):
    started, run = [], subprocess.run
    monkeypatch.setattr(
        startup.subprocess, "run", lambda command, **options: started.append(command[-1]) or run(command, **options)
    )
    timings = measure_startup(scripts, repeats=2).timings
    one_of_each = ["import json", "import csv", "--help", "--help"]
    assert started == one_of_each * 3
    assert [len(timing.seconds) for timing in timings.values()] == [2] * 4


def test_what_does_not_start_is_one_line(scripts):
    (scripts / "train.py").write_text("raise SystemExit('it is broken')")
    with pytest.raises(InputError, match="ended with exit code 1 and said: it is broken"):
        measure_startup(scripts)
    with pytest.raises(InputError, match="expected the project's scripts"):
        measure_startup(scripts / "nowhere")
    with pytest.raises(InputError, match="repeats is 0"):
        measure_startup(scripts, repeats=0)


@pytest.mark.parametrize(
    "script", ["predict", "evaluate", "convert_dataset", "benchmark", "export_onnx", "push_to_hub"]
)
def test_the_help_of_scripts_imports_nothing_that_takes_seconds(imported_by, script):
    imported, _ = imported_by(f"scripts/{script}.py", "--help")
    assert "patchnet_hf.command_line" in imported and not imported & SLOW


REGISTERED = """
import {first}
import {second}
config = transformers.AutoConfig.for_model("patchnet")
model = transformers.AutoModelForImageClassification.from_config(config)
print(type(model).__name__, type(config).__module__)
"""


@pytest.mark.parametrize("first, second", [("patchnet_hf", "transformers"), ("transformers", "patchnet_hf")])
def test_importing_the_package_still_registers_the_model(first, second, tmp_path):
    code = REGISTERED.format(first=first, second=second)
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["PatchNetForImageClassification", "patchnet_hf.models.configuration_patchnet"]


def test_somebodys_own_program_beside_the_scripts_has_the_model_registered(project, tmp_path):
    (tmp_path / "patchnet_hf").symlink_to(project / "patchnet_hf")
    program = tmp_path / "scripts" / "mine.py"
    program.parent.mkdir()
    program.write_text(REGISTERED.format(first="patchnet_hf", second="transformers"))
    ended = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("PatchNetForImageClassification ")


def test_the_package_lists_its_public_names():
    assert set(patchnet_hf.__all__) <= set(dir(patchnet_hf))
    with pytest.raises(AttributeError, match="module 'patchnet_hf' has no attribute 'nothing'"):
        _ = patchnet_hf.nothing


class Fake:
    def __init__(self, name: str):
        self.name = name

    def as_json(self) -> dict:
        return {"benchmark": self.name}

    def text(self) -> str:
        return f"a table of {self.name}"

    markdown = text


class Here:
    """Stands for a process of its own."""

    def __init__(self, make, *arguments):
        self.made = make(*arguments)

    def call(self, method: str, *arguments):
        return getattr(self.made, method)(*arguments)

    def close(self):
        self.made = None


@pytest.fixture
def asked(monkeypatch) -> dict:
    """What each of the measurements is asked for, which take no time."""
    asked = {}
    monkeypatch.setattr(everything, "OwnProcess", Here)
    for name in ("startup", "metrics", "central_difference", "inference", "data", "training"):
        monkeypatch.setattr(
            everything,
            f"measure_{name}",
            lambda *given, name=name, **named: asked.update({name: given}) or Fake(name),
        )
    return asked


def test_all_are_measured_one_after_the_other(asked, benchmark_script, project, tmp_path):
    code, printed, complaints = benchmark_script("all", "--json", tmp_path / "all.json")
    assert (code, complaints) == (0, "")
    assert list(asked) == ["startup", "metrics", "central_difference", "inference", "data", "training"]
    assert asked["startup"] == (project / "scripts",)
    subject, settings, _ = asked["inference"]
    assert subject.as_json()["backbone"] == "resnet18"
    assert (settings.captures, settings.patches) == ((1, 8), (1, 9))
    assert asked["data"][0].workers == default_workers()
    told = json.loads((tmp_path / "all.json").read_text())
    names = ["startup", "metrics", "central-difference", "infer", "data", "train"]
    assert list(told) == ["command", "benchmark", *names]
    positions = [printed.index(f"{name}: a table of ") for name in names]
    assert positions == sorted(positions)


class ProcessOfEach:
    """Instead of a measurement, where and of what it would be made."""

    NAMES = ("one", "another")

    def __init__(self, *arguments):
        self.arguments = arguments

    def measure(self, name: str) -> tuple:
        return os.getpid(), name, self.arguments


def test_each_is_measured_in_a_process_of_its_own(project, monkeypatch):
    monkeypatch.setattr(everything, "Measurements", ProcessOfEach)
    measured = list(everything.measure_all(project / "scripts"))
    assert [name for name, _ in measured] == ["one", "another"]
    processes = {os.getpid()} | {process for _, (process, _, _) in measured}
    assert len(processes) == 3, "neither here nor in the same one"
    assert [told for _, (_, *told) in measured] == [
        [name, (project / "scripts", None, everything.quiet)] for name in ("one", "another")
    ]
    assert not multiprocessing.active_children()


def test_what_is_there_when_all_are_stopped_is_written(asked, benchmark_script, monkeypatch, tmp_path):
    def stop(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(everything, "measure_inference", stop)
    code, printed, _ = benchmark_script("all", "--markdown", "--json", tmp_path / "all.json")
    assert code == 130 and "### metrics\n\na table of metrics" in printed
    assert list(json.loads((tmp_path / "all.json").read_text()))[2:] == ["startup", "metrics", "central-difference"]


def test_the_script_measures_starts(scripts, benchmark_script, monkeypatch, tmp_path):
    measure = startup.measure_startup
    monkeypatch.setattr(startup, "measure_startup", lambda _, *given: measure(scripts, *given))
    code, printed, complaints = benchmark_script("startup", "--repeats", 1, "--json", tmp_path / "startup.json")
    assert (code, complaints) == (0, "") and "1 start of each in turn" in printed
    assert len(json.loads((tmp_path / "startup.json").read_text())["started"]) == 4
