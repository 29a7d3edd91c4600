"""
The help of `scripts/train.py` that comes at once: the options that are ours, and those of transformers most often
needed.
"""

import dataclasses
import types
import typing
from argparse import SUPPRESS

from ..command_line import CommandParser
from .options import DataArguments, ModelArguments, TrainingOptions

OPTIONS = (ModelArguments, DataArguments, TrainingOptions)
USAGE = "%(prog)s --config FILE.yaml [--OPTION VALUE ...]"
CONFIG_HELP = "YAML file of options; options on the command line win over it."
# Of transformers.TrainingArguments, which takes seconds to import: type, default and what it is.
USUAL = {
    "num_train_epochs": (float, 3.0, "Passes over the training captures."),
    "max_steps": (int, -1, "Instead of epochs: steps to train."),
    "per_device_train_batch_size": (int, 8, "Captures in a step, of two views each, on each device."),
    "gradient_accumulation_steps": (int, 1, "Batches whose gradients one update takes together."),
    "optim": (
        str,
        None,
        "Optimiser: adam, amsgrad, adamw, sgd, rmsprop, or another of transformers. By default AdamW.",
    ),
    "learning_rate": (float, 5e-5, "Highest learning rate of the schedule."),
    "weight_decay": (float, 0.0, "Decay of the weights, but those of norms and biases."),
    "warmup_steps": (int, 0, "Steps in which the learning rate rises to its highest."),
    "lr_scheduler_kwargs": (str, None, "Arguments of the schedule, as JSON or a YAML mapping."),
    "eval_steps": (float, None, "With eval_strategy steps: how many from one evaluation to the next."),
    "save_steps": (float, 500, "With save_strategy steps: how many from one checkpoint to the next."),
    "logging_steps": (float, 500, "Steps from one line of numbers to the next."),
    "eval_on_start": (bool, False, "Evaluate before the first step, too."),
    "resume_from_checkpoint": (str, None, "true: go on from the newest checkpoint in output_dir; or a checkpoint."),
    "dataloader_num_workers": (int, 0, "Processes that decode captures beside each training process."),
    "torch_compile": (bool, False, "Compile the network: a minute at the start, faster steps on a GPU."),
    "seed": (int, 42, "Of weights, views and their order."),
    "push_to_hub": (bool, False, "Push the finished model to the Hub, to hub_model_id OWNER/NAME."),
}
_WORDS = {bool: "true|false", int: "N", float: "X", str: "VALUE"}


def short_help(prog: str, description: str, epilog: str) -> str:
    """
    The help of a training script, without an import that takes time.

    Args:
        prog: name of the script.
        description: what it does.
        epilog: examples.
    """
    more = f"--help_all shows all other options of transformers.TrainingArguments, too.\n\n{epilog}"
    parser = CommandParser(prog=prog, usage=USAGE, description=description, epilog=more)
    parser.add_argument("--config", metavar="FILE.yaml", help=CONFIG_HELP)
    for kind in OPTIONS:
        group = parser.add_argument_group(kind._argument_group_name)
        hints = typing.get_type_hints(kind)
        for option in dataclasses.fields(kind):
            choices = option.metadata.get("choices")
            _add(group, option.name, hints[option.name], option.default, option.metadata["help"], choices)
    group = parser.add_argument_group("training, as transformers has it")
    for name, (kind, default, text) in USUAL.items():
        _add(group, name, kind, default, text)
    return parser.format_help()


def _add(group, name: str, kind, default, text: str, choices=None) -> None:
    several = typing.get_origin(kind) is list or list[str] in typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    word = "|".join(choices) if choices else _WORDS.get(kind, "VALUE")
    shown = "" if default is None else f" (default: {str(default).lower() if kind is bool else default})"
    text = (text + shown).replace("%", "%%")
    group.add_argument(f"--{name}", metavar=word, nargs="+" if several else None, default=SUPPRESS, help=text)
