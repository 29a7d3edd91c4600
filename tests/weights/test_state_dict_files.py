"""Files of weights are read for their data alone; what else they are is one line."""

import argparse
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from patchnet_hf.errors import InputError
from patchnet_hf.weights import state_dict_files
from patchnet_hf.weights.state_dict_files import read_state_dict, read_tensors


def tensors() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.arange(6.0).view(1, 2, 3), "conv.bias": torch.tensor([0.5])}


def equal(found, expected) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


class Runs:
    """Unpickled by anything that runs what it is told, it leaves a file."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def in_zip(content: bytes) -> bytes:
    """A file as `torch.save` writes it, but with another pickle."""
    good, bad = io.BytesIO(), io.BytesIO()
    torch.save(tensors(), good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            target.writestr(name, content if name.endswith("data.pkl") else source.read(name))
    return bad.getvalue()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("suffix", ["pth", "pt", "bin"])
def test_what_torch_saved_is_read(tmp_path, suffix, old):
    path = tmp_path / f"weights.{suffix}"
    torch.save(tensors(), path, _use_new_zipfile_serialization=not old)
    assert equal(read_tensors(path), tensors())


def test_safetensors_are_read(tmp_path):
    save_file(tensors(), tmp_path / "weights.safetensors")
    assert equal(read_state_dict(tmp_path / "weights.safetensors"), tensors())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights, "optimizer": {"state": {0: {"step": torch.tensor(7.0)}}}},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {"model_ema": weights, "model": {name: value + 1 for name, value in weights.items()}},
        lambda weights: {"step": torch.tensor(3), "net": weights},
        lambda weights: {**weights, "model": {"note": torch.tensor(1)}},
    ],
)
def test_weights_are_found_in_what_wraps_them(tmp_path, wrapped):
    torch.save(wrapped(tensors()), tmp_path / "checkpoint.pth")
    found = read_state_dict(tmp_path / "checkpoint.pth")
    assert equal(found, tensors())


def test_what_trainings_put_beside_the_weights_does_not_stop_the_reading(tmp_path):
    beside = {
        "args": argparse.Namespace(lr=0.1, names=["a"]),
        "val_loss": np.float64(0.25),
        "val_acc": np.float32(0.5),
        "epoch": np.int64(3),
        "betas": (0.9, 0.999),
    }
    torch.save({"model": torch.nn.Linear(2, 1).state_dict(), **beside}, tmp_path / "checkpoint.pth")
    found = read_tensors(tmp_path / "checkpoint.pth")
    assert (found["val_loss"], found["val_acc"], found["epoch"]) == (0.25, 0.5, 3)
    assert found["args"] == beside["args"] and found["betas"] == beside["betas"]
    assert set(read_state_dict(tmp_path / "checkpoint.pth")) == {"weight", "bias"}


def test_a_parameter_comes_as_a_tensor_without_a_gradient(tmp_path):
    torch.save({"weight": torch.nn.Parameter(torch.ones(2))}, tmp_path / "weights.pth")
    assert not read_state_dict(tmp_path / "weights.pth")["weight"].requires_grad


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("packed", [bytes, in_zip], ids=["bare", "zip"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_pickle_with_code_is_refused_and_nothing_is_run(tmp_path, protocol, packed, deep):
    trap = Runs(tmp_path / "was_run")
    held = {"state_dict": {"extra": [trap]}} if deep else trap
    path = tmp_path / "weights.pth"
    path.write_bytes(packed(pickle.dumps(held, protocol=protocol)))
    with pytest.raises(InputError) as error:
        read_tensors(path)
    assert not (tmp_path / "was_run").exists()
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert "weights_only=False" not in str(error.value), "nobody is told how to run it"
    if protocol == 2:
        assert "holds more than weights (posix.mkdir)" in str(error.value)
    # It is a trap, indeed.
    if packed is bytes:
        pickle.loads(path.read_bytes())
        assert (tmp_path / "was_run").exists()


def test_a_whole_pickled_module_is_refused_by_name(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"holds more than weights \(torch\.nn\.modules\.linear\.Linear\)"):
        read_tensors(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pth", b"", "is empty"),
        ("empty.safetensors", b"", "is empty"),
        ("text.pth", b"version https://git-lfs.github.com/spec/v1\n", "is no file that torch.save has written"),
        ("text.safetensors", b"{} and more of a text", "is no safetensors file"),
        ("zip.pt", b"PK\x03\x04 and then nothing", "is no file that torch.save has written"),
        ("noise.bin", bytes(range(256)), "is no file that torch.save has written"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_tensors(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_safetensors_of_another_name_are_read(tmp_path):
    save_file(tensors(), tmp_path / "weights.pth")
    assert equal(read_tensors(tmp_path / "weights.pth"), tensors())


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_is_called_safetensors_is_refused_as_what_it_is(tmp_path, old):
    path = tmp_path / "weights.safetensors"
    torch.save(tensors(), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(InputError, match=r"no safetensors file but one that torch\.save has written; name it \.pth"):
        read_tensors(path)


def test_a_mapping_that_holds_itself_is_searched_a_few_times_alone(tmp_path, monkeypatch):
    held, searched = {}, []
    held.update(dict.fromkeys(state_dict_files.WRAPPERS, held))
    torch.save(held, tmp_path / "weights.pth")
    search = state_dict_files._unwrapped

    def counted(*arguments):
        searched.append(1)
        assert len(searched) < 10_000
        return search(*arguments)

    monkeypatch.setattr(state_dict_files, "_unwrapped", counted)
    with pytest.raises(InputError, match="holds no weights"):
        read_state_dict(tmp_path / "weights.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_ends_early_is_one_line(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    torch.save(tensors(), path) if suffix == "pth" else save_file(tensors(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"weights\.") as error:
        read_tensors(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "message"), [("nowhere.pth", "doesn't exist"), (".", "is a folder")])
def test_what_is_no_file_is_one_line(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize(("name", "message"), [("a" * 300 + ".pth", "File name too long"), ("a\0b.pth", "null byte")])
def test_a_name_that_no_file_can_have_is_one_line(tmp_path, name, message):
    with pytest.raises(InputError, match=f"can't be read: .*{message}") as error:
        read_tensors(tmp_path / name)
    assert "\n" not in str(error.value) and "\0" not in str(error.value)


@pytest.mark.parametrize("held", [{}, {"epoch": 3}, [torch.zeros(2)], {"model": {}}, {0: torch.zeros(2)}, 3])
def test_a_file_without_weights_is_one_line(tmp_path, held):
    torch.save(held, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="holds no weights: expected tensors by name"):
        read_state_dict(tmp_path / "weights.pth")
