"""scripts/benchmark.py as its users call it."""

import json
import runpy
import sys

import pytest
import torch

from patchnet_hf.benchmarks import inference_settings

QUICK = ("--variants", "eager", "bf16", "--threads", 1, "--repeats", 2)


@pytest.fixture
def infer(project, monkeypatch, capsys):
    """Runs it in this process; its exit code, and what it printed and complained of."""

    def infer(*options) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/somewhere/benchmark.py", "infer", *map(str, options)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(project / "scripts" / "benchmark.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return infer


def test_it_offers_what_the_package_knows(project, infer):
    script = runpy.run_path(str(project / "scripts" / "benchmark.py"))
    assert script["VARIANTS"] == tuple(inference_settings.VARIANTS)
    code, printed, _ = infer("--help")
    assert code == 0 and f"--device {{{','.join(inference_settings.DEVICES)}}}" in printed


def test_a_trained_model_is_measured_and_json_holds_what_is_printed(infer, model_folder, tmp_path):
    file = tmp_path / "speed.json"
    code, printed, complaints = infer("--model", model_folder, "--captures", 1, 2, *QUICK, "--json", file)
    assert (code, complaints) == (0, "")
    told = json.loads(file.read_text())
    assert told["command"].startswith("python scripts/benchmark.py infer --model ")
    assert told["model"]["trained"] is True
    assert [(batch["captures"], batch["patches"]) for batch in told["batches"]] == [(1, 4), (2, 4)]
    lines = printed.splitlines()
    for variant, name in (("eager", "PyTorch, float32"), ("bf16", "PyTorch, bfloat16 autocast")):
        rows = [line.removeprefix(name).split() for line in lines if line.startswith(name)]
        for row, batch in zip(rows, told["batches"], strict=True):
            numbers = batch["variants"][variant]
            assert len(numbers["ms"]) == 2
            shown = ["median_ms", "p95_ms", "captures_per_second"]
            assert row[:4] == [*(f"{numbers[key]:.1f}" for key in shown), f"{numbers['times_as_fast']:.2f}"]
    assert lines[-1] == f"next: python scripts/export_onnx.py --model {model_folder} --output DIR"


def test_any_backbone_is_measured_and_printed_as_markdown(infer):
    options = ["--backbone", "test_vit", "--backbone-kwargs", '{"img_size": 32}', "--patch-size", 32, "--patches", 1]
    code, printed, complaints = infer(*options, "--markdown", *QUICK)
    assert (code, complaints) == (0, "")
    assert printed.startswith("test_vit, ") and "(random weights), patches of 32 x 32.\n" in printed
    assert "| variant | median ms |" in printed and "\n| PyTorch, float32 | " in printed
    assert "next:" not in printed


MODEL = ("--model", "MODEL")
MISTAKES = {
    "no model": ([], "one of the arguments --model --backbone is required"),
    "two models": ([*MODEL, "--backbone", "test_vit"], "not allowed with argument"),
    "missing model": (["--model", "nowhere/at/all"], "nowhere/at/all doesn't exist"),
    "unknown backbone": (["--backbone", "resnet19"], "did you mean resnet18"),
    "unknown option": ([*MODEL, "--repeat", 3], "unknown argument --repeat; did you mean --repeats?"),
    "unknown variant": ([*MODEL, "--variants", "onxx"], "invalid choice: 'onxx'"),
    "unknown device": ([*MODEL, "--device", "gpu"], "invalid choice: 'gpu'"),
    "no captures": ([*MODEL, "--captures", 1, 0], "captures is 1 0; expected at least 1"),
    "no grid": ([*MODEL, "--patches", 8], "patches is 8; expected a square number"),
    "no repeats": ([*MODEL, "--repeats", 0], "repeats is 0; expected at least 1"),
    "no threads": ([*MODEL, "--threads", 0], "threads is 0; expected at least 1"),
    "no size": ([*MODEL, "--patch-size", 0], "patch size is 0; expected at least 1 pixel"),
    "no mapping": (["--backbone", "resnet18", "--backbone-kwargs", "[1]"], "invalid JSON mapping value: '[1]'"),
    "mapping of a model": ([*MODEL, "--backbone-kwargs", "{}"], "--backbone-kwargs are for --backbone"),
    "revision of a backbone": (["--backbone", "resnet18", "--revision", "main"], "--revision is for --model"),
    "unwritable json": ([*MODEL, "--json", "nowhere/at/all.json"], "--json nowhere/at/all.json can't be written"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(infer, model_folder, mistake):
    options, message = MISTAKES[mistake]
    code, printed, complaints = infer(*(model_folder if option == "MODEL" else option for option in options))
    assert (code, printed) == (2, "")
    assert message in complaints and complaints.count("\n") == 1, complaints


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(infer, model_folder):
    code, printed, complaints = infer("--model", model_folder, "--device", "cuda")
    assert (code, printed) == (2, "")
    assert complaints == "benchmark.py: error: there is no CUDA device here; leave --device out, or say --device cpu\n"
