"""The Python consumer of docs/deploy.md, where none of what trained the model can be imported."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime")

# Scores files of a JSON list of [path, face box] with what the documentation's file defines.
RUN = """
import json, sys

FORBIDDEN = {"patchnet_hf", "torch", "torchvision", "transformers", "timm", "datasets", "PIL", "onnx"}

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"{name} isn't for consumers")

sys.meta_path.insert(0, Forbidden())
import score_face

scorer = score_face.FaceScorer("model.onnx")
for path, box in json.loads(sys.argv[1]):
    print(json.dumps(scorer(score_face.read_rgb(path), box)))
"""


@pytest.fixture(scope="module")
def run(shipped, code_blocks):
    """Python in the folder of graph and pictures, with the documentation's file and no way to this package."""
    folder = shipped[0]
    (code,) = code_blocks("python")
    assert len(code.splitlines()) <= 46
    (folder / "score_face.py").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )

    return run


def test_every_picture_scores_as_by_processor_and_model(shipped, run, Score, box):
    _, pictures, expected = shipped
    asked = [(name, None) for name in pictures] + [("live.jpg", box)]
    done = run("-c", RUN, json.dumps(asked))
    assert done.returncode == 0, done.stderr
    for name, line in zip([*pictures, "in a photograph"], done.stdout.splitlines(), strict=True):
        said = json.loads(line)
        Score(said["verdict"], said["live_probability"], said["patches"]).assert_close(expected[name])


def test_it_runs_as_its_first_line_says(shipped, run, box):
    done = run("score_face.py", "model.onnx", "live.jpg", *map(str, box))
    assert done.returncode == 0, done.stderr
    said, expected = json.loads(done.stdout), shipped[2]["in a photograph"]
    assert said["verdict"] == expected.verdict
    assert said["live_probability"] == pytest.approx(expected.probability, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model.onnx", "score_face.py"], "score_face.py is no picture that OpenCV can read"),
        (["model.onnx"], "Scores a face picture: python score_face.py MODEL.onnx PICTURE [X Y W H, the box"),
        (["model.onnx", "live.jpg", 500, 21, 41, 37], "the face box [500, 21, 41, 37] lies outside the picture"),
        (["absent.onnx", "live.jpg"], "[ONNXRuntimeError] : 3 : NO_SUCHFILE"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, line):
    done = run("score_face.py", *map(str, arguments))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in done.stderr
