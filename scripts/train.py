"""Trains PatchNet from a YAML file and command-line options, and reports every evaluation set.

Under --output_dir appear the model with its image processor (`from_pretrained` loads it), metrics.json, checkpoints
and TensorBoard logs. On the command line every option of the YAML file can be given again, and wins.
"""

import sys

from patchnet_hf.command_line import run_command

PROGRAM = "train.py"
EXAMPLES = """examples:
  accelerate launch --quiet scripts/train.py --config configs/demo.yaml
  accelerate launch --quiet scripts/train.py --dataset data/mine --output_dir outputs/mine --num_train_epochs 20
  accelerate launch --quiet scripts/train.py --train data/mine:train lists/more.csv OWNER/NAME:train \\
    --eval data/mine:val --output_dir outputs/mixed
"""


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        from patchnet_hf.training.help import short_help

        print(short_help(PROGRAM, __doc__, EXAMPLES), end="")
        return
    # Only now: torch and transformers take seconds to import, which help doesn't have.
    from patchnet_hf.training.arguments import DataArguments, ModelArguments, PatchNetTrainingArguments
    from patchnet_hf.training.configuration import RunParser
    from patchnet_hf.training.run import train

    kinds = (ModelArguments, DataArguments, PatchNetTrainingArguments)
    parser = RunParser(kinds, prog=PROGRAM, description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--help_all", action="help", help="Show this, with all options of transformers.")
    train(*parser.parse_run())


if __name__ == "__main__":
    run_command(main, less_memory="a smaller --per_device_train_batch_size or --per_device_eval_batch_size")
