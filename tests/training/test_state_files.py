"""Training state in safetensors files."""

import random

import numpy as np
import pytest
import torch

from patchnet_hf.training.random_state import random_state, restore_random_state
from patchnet_hf.training.state_files import load_state, save_state


def test_nested_state_comes_back_as_it_was(tmp_path):
    shared = torch.arange(6.0)
    state = {
        "state": {0: {"step": torch.tensor(5.0), "average": shared[:3], "same_memory": shared}},
        "groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.999), "params": [0, 1], "fused": None, "name": "a", "on": True}],
        1: (3, (), {}),
        "transposed": torch.arange(6).reshape(2, 3).T,
    }
    save_state(tmp_path / "state.safetensors", state)
    loaded = load_state(tmp_path / "state.safetensors")
    assert loaded["groups"] == state["groups"] and loaded[1] == state[1] and list(loaded) == list(state)
    for name, value in state["state"][0].items():
        assert torch.equal(loaded["state"][0][name], value)
    assert torch.equal(loaded["transposed"], state["transposed"])


def test_an_optimiser_goes_on_as_if_it_had_not_been_saved(tmp_path):
    def steps(optimizer, parameter, count):
        for _ in range(count):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()

    one, two = (torch.nn.Parameter(torch.linspace(1, 2, 5)) for _ in range(2))
    undisturbed = torch.optim.AdamW([one], amsgrad=True)
    steps(undisturbed, one, 6)
    first = torch.optim.AdamW([two], amsgrad=True)
    steps(first, two, 3)
    save_state(tmp_path / "optimizer.safetensors", first.state_dict())
    second = torch.optim.AdamW([two], amsgrad=True)
    second.load_state_dict(load_state(tmp_path / "optimizer.safetensors"))
    steps(second, two, 3)
    assert torch.equal(one, two)


def test_what_is_no_number_tensor_or_text_is_refused(tmp_path):
    with pytest.raises(TypeError, match="holds a Generator"):
        save_state(tmp_path / "state.safetensors", {"generator": torch.Generator()})


def test_a_file_of_another_kind_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="no training state"):
        load_state(tmp_path / "model.safetensors")


def test_random_generators_draw_again_what_they_drew(tmp_path):
    device = torch.device("cpu")
    np.random.standard_normal()  # leaves a second value waiting in numpy's generator
    save_state(tmp_path / "random.safetensors", random_state(device))

    def draw():
        return random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist()

    first = draw()
    restore_random_state(load_state(tmp_path / "random.safetensors"), device)
    assert draw() == first
