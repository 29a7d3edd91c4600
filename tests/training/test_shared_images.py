"""A training refuses to evaluate what it trains on, and to stream without end."""

import datasets
import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.training.run import train

from .test_trainer import arguments_of, captures


@pytest.fixture
def leaking(tmp_path):
    """A dataset of which the last two evaluated images are trained on, too, under other labels and sources."""
    training, evaluated = captures(24, 0), captures(9, 1)
    again = training.select([5, 17]).map(lambda row: {"source": "elsewhere", "subject": "anna"})
    again = again.cast(training.features)
    splits = {"train": training, "val": datasets.concatenate_datasets([evaluated, again]), "test": captures(6, 2)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("streaming", [False, True])
def test_an_image_on_both_sides_is_an_error_before_anything_is_written(tmp_path, leaking, streaming):
    data = {"dataset": None, "train": [f"{leaking}:train"], "eval": [f"{leaking}:test", f"{leaking}:val"]}
    with pytest.raises(InputError) as error:
        train(*arguments_of(tmp_path, None, data={**data, "streaming": streaming}, max_steps=3))
    assert str(error.value) == (
        f"2 evaluated images are trained on, too (2 of val in {leaking}:train): capture 5 of {leaking}:train is "
        f"capture 9 of val; capture 17 of {leaking}:train is capture 10 of val. Leave them out of one side, or go on "
        "by allow_shared_images: true"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data", [{"train_filter": {"attack_type": {"not": "replay"}}}, {"eval_filter": {"source": "test"}}]
)
def test_what_a_filter_leaves_out_is_not_compared(tmp_path, leaking, data):
    """Captures 5 and 17 are replays. The error that comes next shows that the comparison was passed."""
    with pytest.raises(InputError, match="resnet_18"):
        train(*arguments_of(tmp_path, leaking, model={"backbone": "resnet_18"}, data=data))


@pytest.mark.slow
def test_one_can_go_on_knowingly(tmp_path, leaking):
    data = {"allow_shared_images": True}
    metrics = train(*arguments_of(tmp_path, leaking, model={"backbone": "test_resnet"}, data=data, max_steps=1))
    assert metrics["eval_val_images"] == 11


def test_a_stream_without_end_is_refused(tmp_path, leaking):
    with pytest.raises(InputError, match="streaming: a stream has no epochs; say with max_steps how long to train"):
        train(*arguments_of(tmp_path, leaking, data={"streaming": True}))


def test_a_stream_without_a_buffer_is_refused(tmp_path, leaking):
    with pytest.raises(InputError, match="shuffle_buffer is 0; expected at least 1"):
        arguments_of(tmp_path, leaking, data={"streaming": True, "shuffle_buffer": 0})
