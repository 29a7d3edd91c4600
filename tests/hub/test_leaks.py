"""What the search for leaks finds, what it lets pass, and that it never repeats a secret."""

import getpass
import io
import json
import os
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save

from patchnet_hf.errors import InputError
from patchnet_hf.hub.leaks import check_leaks, findings, findings_in_text

# Put together here, so that no scanner of sources takes one for real.
SECRETS = {
    "a Hugging Face token": "hf_" + "x9" * 17,
    "a Telegram bot token": "123456789:" + "AAE" * 11 + "_-",
    "a GitHub token": "ghp_" + "x9" * 18,
    "an AWS key": "AKIA" + "X9" * 8,
    "a secret key": "sk-" + "x9" * 20,
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a password in a URL": "https://anna:" + "opensesame@proxy",
}


@pytest.mark.parametrize("what", SECRETS)
@pytest.mark.parametrize("name", ["README.md", "metrics.json", "modeling.py", "model.onnx", "report.png"])
def test_secrets_are_found_in_texts_and_bytes_and_not_repeated(what, name):
    text = f'{{"note": "{SECRETS[what]}"}}'
    data = text.encode() if name.endswith((".md", ".json", ".py")) else b"\x00\xff" + text.encode() + b"\x00"
    with pytest.raises(InputError, match=f"{name} holds {what}, which must not be published") as caught:
        check_leaks({name: data})
    assert SECRETS[what] not in str(caught.value)


def test_the_value_of_a_secret_variable_is_found_whatever_it_looks_like(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "correct horse")
    for name in ("README.md", "model.onnx"):
        assert list(findings(name, b"... correct horse ...")) == ["the value of MY_SERVICE_PASSWORD"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("trained on /data/faces/anna.jpg.", "/data/faces/anna.jpg"),
        ('{"folder": "/mnt/disk1/captures"}', "/mnt/disk1/captures"),
        ("in '/srv/a/b'", "/srv/a/b"),
        ("searched in bin:/opt/y/b", "/opt/y/b"),
        ("converted from C:/captures/mine/a.csv", "/captures/mine/a.csv"),
        ('{"train": "/datasets/faces/train"}', "/datasets/faces/train"),
        ("at file:///data/x", "file:///data/x"),
        (json.dumps({"folder": r"C:\Users\anna\faces"}), r"C:\\Users\\anna\\faces"),
        (r"D:\captures\mine.csv", r"D:\captures\mine.csv"),
    ],
)
def test_paths_are_found_in_texts(text, path):
    assert f"the path {path}" in list(findings_in_text(text))
    assert list(findings_in_text(text, allowed=[path])) == []


@pytest.mark.parametrize(
    "text",
    [
        "see https://huggingface.co/docs/hub/model-cards and http://host:8000/a/b",
        "types phone/live, phone/print/glossy; 3/4/5 and and/or",
        "python scripts/predict.py --model outputs/demo ./a/b ../c/d ~/e/f",
        "</div></p> `/path/to/model/x` /usr/bin/python3",
        "APCER / BPCER, [a](/docs/x/y), [b](/datasets/someone/captures)",
    ],
)
def test_what_is_no_path_of_a_machine_passes(text):
    assert list(findings_in_text(text)) == []


def test_all_that_travels_with_a_model_passes(project):
    for path in (project / "patchnet_hf" / "models").glob("*.py"):
        assert list(findings(path.name, path.read_bytes())) == [], path.name


def test_names_of_the_user_and_the_host_are_found_as_words_but_not_in_code(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "annamaria")
    monkeypatch.setattr(socket, "gethostname", lambda: "bluebox.lan")
    for text, name in (("by annamaria.", "annamaria"), ("on bluebox, fast", "bluebox")):
        assert list(findings("README.md", text.encode())) == [f"the name {name} of the user or the host"]
        assert list(findings("code.py", text.encode())) == []
        assert list(findings("README.md", text.encode(), [name])) == []
    assert list(findings("README.md", b"annamarias blueboxes")) == []


@pytest.mark.parametrize("user", ["root", "demo", "will", "may"])
def test_names_that_many_machines_share_and_words_of_every_card_tell_nothing(monkeypatch, user):
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    monkeypatch.setattr(Path, "home", lambda: Path("/root"))
    assert (
        list(findings("README.md", b"the root of localhost, where a demo will run or may, /rootless and x/root")) == []
    )
    assert list(findings("README.md", b"in /root")) == ["the path /root"]


def test_a_file_s_own_name_is_searched(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "annamaria")
    assert list(findings("of-annamaria.onnx", b"")) == []
    assert list(findings("annamaria.onnx", b"")) == ["the name annamaria of the user or the host"]


@pytest.mark.parametrize("compressed", [False, True])
def test_the_texts_in_a_png_file_are_searched(monkeypatch, compressed):
    monkeypatch.setattr(socket, "gethostname", lambda: "bluebox")
    told = PngInfo()
    told.add_text("Comment", "drawn on bluebox from /data/faces/anna", zip=compressed)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "png", pnginfo=told)
    assert list(findings("det.png", stream.getvalue())) == [
        "the path /data/faces/anna", "the name bluebox of the user or the host"
    ]  # fmt: skip
    assert list(findings("det.png", b"no picture")) == []


def test_the_metadata_of_weights_are_searched_and_their_numbers_are_not(monkeypatch):
    numbers = torch.frombuffer(bytearray(b"/data/faces/anna"), dtype=torch.uint8)
    assert list(findings("model.safetensors", save({"weight": numbers}))) == []
    told = save({"weight": numbers}, metadata={"from": "/data/faces/anna"})
    assert list(findings("model.safetensors", told)) == ["the path /data/faces/anna"]
    monkeypatch.setattr(socket, "gethostname", lambda: "bluebox")
    told = save({"weight": numbers}, metadata={"host": "bluebox"})
    assert list(findings("model.safetensors", told)) == ["the name bluebox of the user or the host"]


def test_graphs_are_searched_for_homes_and_for_where_the_project_is_but_names_of_nodes_pass(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert list(findings("model.onnx", b"\x08/patchnet/backbone/conv1/Conv_output_0\x12")) == []
    assert list(findings("model.onnx", b"\x08/home/anna/model.py\x12")) == ["the path /home/anna"]
    assert f"the path {os.getcwd()}" in list(findings("model.onnx", b"\x08" + os.getcwd().encode() + b"/x.py"))
