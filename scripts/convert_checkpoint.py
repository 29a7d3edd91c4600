#!/usr/bin/env python
"""Makes a model folder of a checkpoint of fas-patchnet (or Implementation-patchnet), with the same scores.

Beside the model lies training.yaml, the config.yaml as options of scripts/train.py: every value carried over, or named
with the reason why it isn't. docs/migrating.md tells the rest.
"""

import shlex

from patchnet_hf.command_line import CommandParser, run_command

EXAMPLES = """examples:
  python scripts/convert_checkpoint.py --checkpoint logs/0012_fastvit_t8_0.0312.pth --config config/config.yaml \\
      --output outputs/converted
  python scripts/convert_checkpoint.py --checkpoint best.pth --config config.yaml --output outputs/converted \\
      --rescaling sigmoid
      for those who used the graphs of convert_to_onnx_norm_output_sigmoid.py
"""


def main() -> int:
    parser = CommandParser(prog="convert_checkpoint.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--checkpoint", required=True, metavar="X.pth", help="the checkpoint; never run, only read")
    parser.add_argument("--config", required=True, metavar="config.yaml", help="what it was trained with")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the model, new or empty")
    parser.add_argument(
        "--rescaling",
        choices=("none", "sigmoid", "linear"),
        default="none",
        help="how your ONNX graphs rescaled their outputs: sigmoid becomes a calibration of the model; linear isn't "
        "carried over, and is said why (default: none, the softmax)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a converted model that is in DIR already")
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from patchnet_hf.legacy.conversion import TRAINING_FILE, convert_checkpoint
    from patchnet_hf.legacy.report import conversion_report

    conversion = convert_checkpoint(
        arguments.checkpoint, arguments.config, arguments.output, arguments.rescaling, arguments.overwrite
    )
    print(conversion_report(conversion))
    folder = shlex.quote(arguments.output)
    print(f"\nwritten to {arguments.output}")
    print(f"next: python scripts/predict.py --model {folder} IMAGE...")
    print(f"      accelerate launch scripts/train.py --config {folder}/{TRAINING_FILE}")
    return 0


if __name__ == "__main__":
    run_command(main)
