"""A model pushed to the Hub by the script and loaded from there, with the package and without."""

import json
import os

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from patchnet_hf import PatchNetForImageClassification, PatchNetImageProcessor
from patchnet_hf.errors import InputError
from patchnet_hf.hub.model_upload import content_of, model_upload
from patchnet_hf.hub.push import push

REPO = "someone/patchnet"
SETTINGS = {"config.json", "preprocessor_config.json", "model.safetensors"}
LOAD = """
import sys, torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
with_package, repo, picture, out = sys.argv[1] == "package", *sys.argv[2:]
options = {"revision": "v1"}
if with_package:
    import patchnet_hf
else:
    try:
        import patchnet_hf
    except ImportError:
        options["trust_remote_code"] = True
def refuse(*_):
    raise AssertionError("asked whether to run the model's code")
import builtins
builtins.input = refuse
model = AutoModelForImageClassification.from_pretrained(repo, **options).eval()
processor = AutoImageProcessor.from_pretrained(repo, **options)
image = Image.open(picture)
with torch.no_grad():
    logits = model(**processor(image, return_tensors="pt")).logits
classify = pipeline("image-classification", model=repo, device="cpu", **options)
(score,) = [row["score"] for row in classify(image) if row["label"] == "live"]
save_file({"logits": logits, "score": torch.tensor(score, dtype=torch.float64)}, out)
print(type(model).__module__)
"""


@pytest.fixture
def expected(saved_model, picture) -> torch.Tensor:
    """Logits `(1, 2)` of the model that is pushed, by one thread, as the other processes compute them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = PatchNetForImageClassification.from_pretrained(saved_model).eval()
    processor = PatchNetImageProcessor.from_pretrained(saved_model)
    with torch.no_grad():
        logits = model(**processor(Image.open(picture), return_tensors="pt")).logits
    torch.set_num_threads(threads)
    return logits


def code_of(project) -> set[str]:
    return {path.name for path in (project / "patchnet_hf" / "models").glob("*.py")} - {"__init__.py"}


@pytest.mark.slow
def test_what_is_pushed_loads_to_the_last_bit_with_the_package_and_without(
    hub, run, python, new_environment, model_folder, picture, expected, project, tmp_path
):
    push = ["push_to_hub.py", "--model", model_folder, "--repo", REPO, "--revision", "v1"]
    dry, pushed = run([*push, "--dry-run"], push)
    assert dry.code == pushed.code == 0, dry.err + pushed.err
    held = hub.model(REPO)
    # Nothing on `main`: what is loaded, code as well, is of the revision that was asked for.
    files = held.files("v1")
    assert held.files("main") == {} and set(files) == SETTINGS | code_of(project) | {"README.md", "metrics.json"}
    assert held.messages() == ["initial commit", "Upload model"]
    assert files["model.safetensors"] == (model_folder / "model.safetensors").read_bytes()
    assert files["README.md"].decode() in dry.out
    assert f"commit {held.branches['v1'][:12]}" in pushed.out
    for name, content in files.items():
        assert b"/pytest-" not in content and b"AAE-no_bot" not in content, name

    options = {"PYTHONPATH": "", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    without = {"interpreter": new_environment().python, **options}
    for kind, where, module in (("package", {}, "patchnet_hf"), ("code", without, "transformers_modules.someone")):
        out = tmp_path / f"{kind}.safetensors"
        assert python(LOAD, kind, REPO, picture, out, **where).splitlines()[-1].startswith(f"{module}.")
        found = load_file(out)
        assert torch.equal(found["logits"], expected), kind
        assert found["score"] == pytest.approx(expected.softmax(-1)[0, 1].item(), abs=1e-4)


@pytest.mark.slow
def test_a_branch_is_made_and_a_private_repository_too_and_nothing_is_pushed_twice(hub, run, model_folder):
    push = ["push_to_hub.py", "--model", model_folder, "--repo", REPO]
    first, second, other = run([*push, "--private", "--revision", "v1"], [*push, "--revision", "v1"], push)
    assert first.code == second.code == other.code == 0, first.err + second.err + other.err
    held = hub.model(REPO)
    assert held.private and set(held.branches) == {"main", "v1"}
    assert held.files("v1") == held.files("main")
    # What hasn't changed is neither uploaded nor committed again.
    assert held.messages() == ["initial commit", "Upload model", "Upload model"]
    assert sum(request.startswith("PUT /lfs/") for request in hub.requests) == 1
    assert "--revision v1" in first.out


@pytest.mark.slow
def test_a_push_takes_away_what_an_earlier_one_left_and_nothing_of_others(hub, run, model_folder):
    graph = model_folder / "onnx" / "model.onnx"
    graph.parent.mkdir()
    graph.write_bytes(b"of the weights before")
    push = ["push_to_hub.py", "--model", model_folder, "--repo", REPO, "--revision", "v1"]
    (first,) = run(push)
    before = hub.model(REPO).files("v1")
    theirs = {"int8/model.onnx": b"of somebody else", "notes.txt": b"mine"}
    hub.put(REPO, {**before, **theirs, "figures/det_old.png": b""}, "v1")
    graph.unlink()
    (model_folder / "metrics.json").unlink()
    (second,) = run(push)
    assert first.code == second.code == 0, first.err + second.err
    after = hub.model(REPO).files("v1")
    assert set(before) - set(after) == {"onnx/model.onnx", "metrics.json"}
    assert set(after) - set(before) == set(theirs)
    assert hub.model(REPO).messages()[-2:] == ["by somebody else", "Upload model"], "in the same commit"


@pytest.mark.slow
def test_what_goes_wrong_is_one_line_that_says_what_to_do(hub, run, model_folder, new_model, tmp_path):
    push = ["push_to_hub.py", "--model", model_folder, "--repo"]
    hub.put("else/where", {})
    hub.put("someone/public", {})
    hub.put("someone/edited", {"README.md": b"# Written on the Hub\n"})
    graph = tmp_path / "graph"
    graph.mkdir()
    (graph / "model.onnx").write_bytes(b"")
    leaky = tmp_path / "leaky"
    new_model().save_pretrained(leaky)
    PatchNetImageProcessor(patch_size=32).save_pretrained(leaky)
    (leaky / "metrics.json").write_text(json.dumps({"trained_on": "/data/faces/anna"}))
    cases = [
        (([*push, REPO], {"HF_TOKEN": None}), "doesn't know who is asking for someone/patchnet: log in by `hf auth"),
        (
            ([*push, REPO], {"HF_TOKEN": "hf_" + "wrong" * 7}),
            "doesn't know who is asking for someone/patchnet: log in",
        ),
        (
            ([*push, REPO], {"HF_TOKEN": "hf_TestOnlyMayReadAndNotWrite00000000"}),
            "token isn't allowed to write to some",
        ),
        ([*push, "else/where"], "token isn't allowed to write to else/where"),
        ([*push, "patchnet"], "repo is 'patchnet'; expected OWNER/NAME"),
        ([*push, "someone/public", "--private"], "someone/public is on the Hub already and is public"),
        ([*push, "someone/edited"], "README.md of someone/edited was edited on the Hub; --overwrite-card replaces"),
        (
            ["push_to_hub.py", "--model", tmp_path / "no", "--repo", REPO],
            "no is no folder; expected one that scripts/",
        ),
        (["push_to_hub.py", "--model", graph, "--repo", REPO], "holds an exported graph alone; it goes to the Hub"),
        (["push_to_hub.py", "--model", leaky, "--repo", REPO], "metrics.json holds the path /data/faces/anna, which"),
        (["push_to_hub.py", "--dataset", tmp_path / "no", "--repo", REPO], "dataset folder"),
        ([*push, REPO, "--evaluation", tmp_path], "no folder that scripts/evaluate.py has written"),
        (["push_to_hub.py", "--repo", REPO], "one of the arguments --model --dataset is required"),
    ]
    before = {name: dict(held.branches) for name, held in hub.repositories.items()}
    for done, (_, words) in zip(run(*[command for command, _ in cases]), cases, strict=True):
        assert words in done.refusal
        assert "TestOnly" not in done.refusal and "wrongwrong" not in done.refusal
    assert {name: dict(held.branches) for name, held in hub.repositories.items()} == before, "nothing was pushed"


def test_a_model_that_was_saved_without_its_code_gets_it(model_folder, project):
    for name in code_of(project):
        (model_folder / name).unlink(missing_ok=True)
    for name in ("config.json", "preprocessor_config.json"):
        settings = json.loads((model_folder / name).read_text())
        del settings["auto_map"]
        (model_folder / name).write_text(json.dumps(settings))
    files = model_upload(model_folder, REPO).files
    assert code_of(project) <= set(files)
    classes = json.loads(content_of(files["config.json"]))["auto_map"]
    assert classes["AutoModelForImageClassification"] == "modeling_patchnet.PatchNetForImageClassification"
    assert "AutoImageProcessor" in json.loads(content_of(files["preprocessor_config.json"]))["auto_map"]
    assert (
        content_of(files["modeling_patchnet.py"])
        == (project / "patchnet_hf" / "models" / "modeling_patchnet.py").read_bytes()
    )
    assert "auto_map" not in json.loads((model_folder / "config.json").read_text()), "the folder stays as it is"


def test_exported_graphs_go_up_beside_their_model(model_folder):
    graphs = {"model.onnx", "export.json", "onnx/model.onnx", "onnx/config.json", "onnx/preprocessor_config.json"}
    (model_folder / "onnx").mkdir()
    for name in [*graphs, "onnx/notes.txt"]:
        (model_folder / name).write_bytes(b"{}") if not (model_folder / name).exists() else None
    assert graphs < set(model_upload(model_folder, REPO).files)
    assert not {"onnx/notes.txt", ".env", "training_args.json", "references.safetensors"} & set(
        model_upload(model_folder, REPO).files
    )


@pytest.mark.slow
def test_a_dry_run_asks_nothing_of_the_hub_and_a_hub_that_does_not_answer_is_one_line(hub, run, model_folder):
    push_it = ["push_to_hub.py", "--model", model_folder, "--repo", REPO]
    (dry,) = run(([*push_it, "--dry-run"], {"HF_TOKEN": None}))
    assert dry.code == 0 and not hub.requests, dry.err
    assert "model.safetensors" in dry.out and "# patchnet" in dry.out and "nothing was pushed" in dry.out
    hub.answers = False
    (gone,) = run(push_it)
    assert f"the Hub at {hub.url} can't be reached" in gone.refusal


def test_a_push_is_refused_in_a_line_where_hf_hub_offline_is_set(model_folder):
    assert os.environ["HF_HUB_OFFLINE"] == "1", "so it is for all tests"
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set, so the Hub isn't asked for anything; unset it"):
        push(model_upload(model_folder, REPO))


@pytest.mark.slow
def test_an_edited_card_is_never_lost_without_a_word(hub, run, model_folder):
    (model_folder / "own.png").write_bytes(b"\x89PNG")
    own = "---\ntags: [mine]\n---\n# My own words\n\n![a picture](own.png) ![another](../../secret.png)\n"
    (model_folder / "README.md").write_text(own)
    push = ["push_to_hub.py", "--model", model_folder, "--repo", REPO]
    kept, refused, again, replaced = run(
        push, [*push, "--license", "apache-2.0"], push, [*push, "--license", "apache-2.0", "--overwrite-card"]
    )
    assert "README.md was edited and goes up as it is" in kept.out
    assert "without what --evaluation and --license tell" in refused.refusal
    assert again.code == 0, again.err
    assert replaced.code == 0, replaced.err
    held = hub.model(REPO)
    first, last = list(held.commits)[1], list(held.commits)[-1]
    assert held.files(first)["README.md"].decode() == own
    assert "own.png" in held.files(first) and not any("secret" in name for name in held.files(first))
    assert "license: apache-2.0" in held.files(last)["README.md"].decode()
    assert (model_folder / "README.md").read_text() == own
