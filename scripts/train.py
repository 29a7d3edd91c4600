"""Trains PatchNet from a YAML file and command-line options."""

from patchnet_hf.command_line import run_command
from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
from patchnet_hf.training.configuration import RunParser
from patchnet_hf.training.run import train

EXAMPLES = """examples:
  accelerate launch --quiet scripts/train.py --config configs/demo.yaml
  accelerate launch --quiet scripts/train.py --dataset data/mine --output_dir outputs/mine --num_train_epochs 20
"""


def main():
    parser = RunParser(
        (ModelArguments, DataArguments, PatchNetTrainingArguments),
        prog="train.py",
        description=__doc__,
        epilog=EXAMPLES,
    )
    train(*parser.parse_run())


if __name__ == "__main__":
    run_command(main)
