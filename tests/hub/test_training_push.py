"""A training that pushes its model at its end: from one process alone, and what the script would push."""

import json
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from patchnet_hf import PatchNetForImageClassification
from patchnet_hf.hub.model_upload import content_of, model_upload

pytestmark = pytest.mark.slow

REPO = "someone/trained"


@pytest.fixture
def options(captures_folder, tmp_path) -> list[str]:
    """Of a training of three steps, in a folder where lies what mustn't be pushed."""
    folder = tmp_path / "outputs" / "trained"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("TELEGRAM_API_TOKEN=123456789:AAE-no_bot_has_this_token_0123456789\n")
    values = {
        "dataset": captures_folder,
        "output_dir": folder,
        "backbone": "test_convnext",
        "patch_size": 32,
        "grid": 1,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "warmup_steps": 0,
        "report_to": "tensorboard",
        "precision": "float32",
        "use_cpu": "true",
        "push_to_hub": "true",
        "hub_model_id": REPO,
    }
    return [str(part) for name, value in values.items() for part in (f"--{name}", value)]


def test_two_processes_push_once_what_the_script_pushes(hub, environment, options, project, run, python, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    unsigned = {name: value for name, value in environment.items() if name != "HF_TOKEN"}
    token = environment["HF_TOKEN"]
    where = ["--hub_revision", "v1", "--hub_private_repo", "true", "--hub_token", token]
    command = [sys.executable, *launcher, project / "scripts" / "train.py", *options, *where]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=unsigned, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    held = hub.model(REPO)
    assert held.private
    assert held.messages() == ["initial commit", "End of training"] and held.files("main") == {}
    assert done.stdout.count(f"commit {held.branches['v1'][:12]}") == 1

    files, folder = held.files("v1"), tmp_path / "outputs" / "trained"
    script = model_upload(folder, REPO).files
    assert {name: content_of(content) for name, content in script.items()} == files
    assert {"config.json", "model.safetensors", "modeling_patchnet.py", "metrics.json", "run.json"} <= set(files)
    assert not [name for name in files if name.startswith(("checkpoint", "runs", ".env", "training_args"))]
    for name, content in files.items():
        assert str(tmp_path).encode() not in content and b"AAE-no_bot" not in content, name
        assert token.encode() not in content, name
    assert not [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    metrics = json.loads((folder / "metrics.json").read_text())
    told = ModelCard(files["README.md"].decode()).data.eval_results
    acer = {result.metric_value for result in told if "ACER" in (result.metric_name or "")}
    assert any(abs(value - metrics["eval_val_acer"]) < 1e-3 for value in acer), acer

    out = tmp_path / "weights.pt"
    loaded = "import sys, torch, patchnet_hf\nfrom transformers import AutoModelForImageClassification as Auto\n"
    python(f"{loaded}torch.save(Auto.from_pretrained({REPO!r}, revision='v1').state_dict(), sys.argv[1])", out)
    weights = PatchNetForImageClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in torch.load(out, weights_only=True).items())


def test_a_push_that_must_fail_fails_before_the_training_and_one_that_fails_later_leaves_the_run(
    hub, run, options, tmp_path
):
    hub.put("else/where", {})
    hub.put("someone/edited", {"README.md": b"# Written on the Hub\n"})
    train = ["train.py", *options]
    wrong = "hf_" + "wrong" * 7
    cases = [
        ([*train, "--hub_model_id", "trained"], "repo is 'trained'; expected OWNER/NAME"),
        ((train, {"HF_TOKEN": None}), f"doesn't know who is asking for {REPO}: log in"),
        ((train, {"HF_TOKEN": wrong}), f"doesn't know who is asking for {REPO}: log in"),
        ([*train, "--hub_model_id", "someone-else/trained"], "token isn't allowed to write to someone-else/trained"),
        ([*train, "--hub_strategy", "every_save"], "only end is offered"),
    ]
    for done, (_, words) in zip(run(*[command for command, _ in cases]), cases, strict=True):
        assert words in done.refusal and wrong not in done.err
        assert not (tmp_path / "outputs" / "trained" / "model.safetensors").exists()

    (edited,) = run([*train, "--hub_model_id", "someone/edited"])
    folder = tmp_path / "outputs" / "trained"
    assert "README.md of someone/edited was edited on the Hub" in edited.refusal
    assert f"The run is whole in {folder}: python scripts/push_to_hub.py --model {folder} --repo someone" in edited.err
    assert (folder / "model.safetensors").is_file() and (folder / "metrics.json").is_file()
    assert hub.model("someone/edited").messages() == ["initial commit", "by somebody else"]
