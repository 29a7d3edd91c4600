"""Two real processes, over gloo on the CPU, against one on the joint batch."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from patchnet_hf.errors import InputError
from patchnet_hf.training.synchronization import synchronize_batch_norm


@pytest.fixture(scope="module", params=[("convnext_atto", False), ("test_resnet", True), ("test_byobnet", True)])
def runs(request, tmp_path_factory, run_processes):
    """One process, and both of two: without batch normalisation, with, and with timm's fused one, all synchronised."""
    backbone, sync_batch_norm = request.param
    ended = []
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp("exact")
        run_processes("one_step.py", folder, backbone, int(sync_batch_norm), processes=processes)
        ended.append([load_file(folder / f"rank{rank}.safetensors") for rank in range(processes)])
    (alone,), both = ended
    return alone, both


@pytest.mark.slow
def test_after_one_step_two_processes_and_one_on_the_joint_batch_have_the_same_weights(runs):
    alone, (first, second) = runs
    names = [name for name in alone if name.startswith("state.")]
    assert len(names) > 10
    for name in names:
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"
        torch.testing.assert_close(
            first[name], alone[name], rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.slow
def test_two_processes_count_score_and_order_sets_that_do_not_divide_as_one_does(runs):
    alone, both = runs
    for ranks in both:
        assert [ranks[f"images.{name}"].item() for name in ("near", "far", "total")] == [13, 8, 21]
        for name in ("near", "far"):
            scores, expected = (run[f"scores.eval_{name}"].numpy() for run in (ranks, alone))
            np.testing.assert_allclose(scores, expected, atol=2e-4)
            assert np.argsort(scores).tolist() == np.argsort(expected).tolist()


def test_batch_normalisation_that_cannot_be_synchronised_is_refused():
    with pytest.raises(InputError, match="BatchNorm1d can't be synchronised on the CPU"):
        synchronize_batch_norm(nn.Sequential(nn.BatchNorm1d(4)), torch.device("cpu"))
