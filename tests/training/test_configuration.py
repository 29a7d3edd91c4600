"""Runs described by YAML and by options."""

import pytest

from patchnet_hf.errors import InputError
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.options import resume_choice


def parse(*argv):
    parser = RunParser((ModelArguments, DataArguments, PatchNetTrainingArguments), prog="train.py")
    return parser.parse_run([str(argument) for argument in argv])


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


def test_yaml_fills_the_options_and_the_command_line_wins(config):
    path = config(
        "backbone: fastvit_t8\nlearning_rate: 1e-3\npatch_size: 96\ntrain: [a:train, b:train]\n"
        "backbone_kwargs: {img_size: 96}\nchannels_last: false\neval: one\n"
    )
    model, data, training = parse("--config", path, "--patch_size", "128", "--num_train_epochs", "3")
    assert (model.backbone, model.backbone_kwargs) == ("fastvit_t8", {"img_size": 96})
    assert (data.patch_size, data.train, data.eval) == (128, ["a:train", "b:train"], ["one"])
    assert training.learning_rate == 1e-3, "YAML 1.1 reads 1e-3 as text"
    assert training.channels_last is False and training.num_train_epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 0.1", "run.yaml: unknown key 'learning_rat'; did you mean learning_rate"),
        ("patch_size: large", "patch_size is 'large'; expected int"),
        ("patch_size: [1, 2]", "patch_size is a list"),
        ("recipe: crop", "expected one of patches, resize"),
        ("- backbone", "no mapping"),
        ("backbone: [unclosed", "no YAML"),
        ("channels_last: perhaps", "channels_last"),
        ("precision: fp8", "precision is 'fp8'"),
        ("eval_strategy: sometimes", "sometimes"),
        ("patch_size:", "patch_size has no value"),
        ("patch_size: {a: 1}", "patch_size is a mapping"),
        ("per_device_train_batch_size: 0", "per_device_train_batch_size is 0"),
        ("eval_strategy: steps\nsave_strategy: epoch", "strategy"),
    ],
)
def test_a_yaml_that_does_not_fit_is_said_in_one_line(config, text, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")) as error:
        parse("--config", config(text))
    assert "\n" not in str(error.value)


def test_a_missing_yaml_is_named():
    with pytest.raises(InputError, match=r"nowhere\.yaml doesn't exist"):
        parse("--config", "nowhere.yaml")


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--learning_rat", "1"], "did you mean --learning_rate"), (["--patch_size", "big"], "invalid int value: 'big'")],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(capsys, argv, message):
    with pytest.raises(SystemExit) as exit_:
        parse(*argv)
    assert exit_.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_error_rates_choose_the_lowest_checkpoint_and_auc_the_highest(tmp_path):
    def better(metric):
        arguments = PatchNetTrainingArguments(output_dir=tmp_path, metric_for_best_model=metric)
        return arguments.greater_is_better

    assert better("eval_total_acer") is False and better("eval_val_eer") is False and better("eval_total_auc") is True


def test_precision_is_what_was_asked_for(tmp_path):
    def precision(value):
        arguments = PatchNetTrainingArguments(output_dir=tmp_path, precision=value, use_cpu=True)
        return arguments.bf16, arguments.fp16

    assert precision("float32") == (False, False)
    assert precision("bfloat16") == (True, False)
    both = PatchNetTrainingArguments(output_dir=tmp_path, precision="float32", bf16=True, use_cpu=True)
    assert both.bf16 is False, "an explicit precision wins"


def test_the_help_shows_examples_as_they_are_written():
    parser = RunParser((ModelArguments,), prog="train.py", epilog="examples:\n  one\n  two")
    assert "examples:\n  one\n  two" in parser.format_help()


def test_a_bare_no_of_yaml_is_the_strategy_of_that_name(config):
    path = config("eval_strategy: no\nsave_strategy: no\nload_best_model_at_end: false\nresume_from_checkpoint: true")
    _, _, training = parse("--config", path)
    assert training.eval_strategy == "no" and resume_choice(training.resume_from_checkpoint) is True


@pytest.mark.parametrize("nothing", ["{}", "null", " {} "])
def test_a_filter_of_the_yaml_is_left_out_on_the_command_line(config, nothing):
    path = config("train_filter: {subject: anna}\neval_filter: {subject: ben}")
    _, data, _ = parse("--config", path, "--train_filter", nothing)
    assert data.train_filter is None and str(data.eval_filter) == "subject ben"
    with pytest.raises(InputError, match="train_filter is empty"):
        parse("--config", path, "--train_filter", "[{}]")


def test_resuming_takes_true_false_or_a_path():
    assert [resume_choice(value) for value in ("true", "False", "dir", None)] == [True, False, "dir", None]
