#!/usr/bin/env python
"""Exports a trained model as one ONNX file that ONNX Runtime scores captures with, and checks it against the model."""

import shlex
import sys

from patchnet_hf.command_line import CommandParser, run_command

DESCRIPTION = """\
Exports a trained model as one ONNX file, and checks the file against the model before it is left there.

Under --output appear model.onnx (weights, labels, threshold and preprocessing inside), config.json and
preprocessor_config.json with their code, so that --output stands wherever a model is asked for, and export.json (what
was made and how it compares with the model).
"""

EXAMPLES = """\
examples:
  export_onnx.py --model outputs/demo --output outputs/demo-onnx
      normalised patches in, logits out: what `optimum-cli export onnx` makes, with metadata and checked
  export_onnx.py --model outputs/demo --output outputs/demo-self-contained --self-contained
      one RGB picture of any size in, its live probability and those of its patches out: for phones and browsers
  export_onnx.py --model outputs/demo --output outputs/demo-int8 --self-contained --quantize int8 \\
      --dataset data/demo-arrow:val_unseen --calibrate-on data/demo-arrow:val_seen
      a quarter of the size; refused if ACER on val_unseen rises by more than 2 points
"""


def number_or(*words: str):
    """A type of options that are a positive whole number or one of some words."""

    def parse(text: str) -> int | str:
        return text if text in words else int(text)

    parse.__name__ = f"number, {' or '.join(words)}:"
    return parse


def main() -> int:
    parser = CommandParser(prog="export_onnx.py", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--model", required=True, help="a trained model: a folder, or an id of the Hub")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the export, new or empty")
    parser.add_argument("--overwrite", action="store_true", help="replace an export that is in DIR already")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit, of a model of the Hub")
    interface = parser.add_argument_group("what the graph takes and gives")
    interface.add_argument(
        "--self-contained",
        action="store_true",
        help="the graph takes one RGB picture (height, width, 3) uint8 of any size: padding, patches, normalisation "
        "and averaging are inside",
    )
    interface.add_argument(
        "--input",
        choices=("float", "uint8"),
        help="float (default): normalised patches; uint8: RGB patches, normalised in the graph",
    )
    interface.add_argument(
        "--scores",
        choices=("logits", "probability", "linear", "sigmoid"),
        help="logits (default), the live probability (default with --self-contained), or scores that fill 0 to 1 "
        "evenly, fitted on --dataset",
    )
    interface.add_argument(
        "--patches",
        type=number_or("any", "single"),
        metavar="N|any|single",
        help="patches of a capture: any number (default), a fixed one, or single patches without that dimension",
    )
    interface.add_argument("--static-batch", type=int, metavar="N", help="captures in each run (default: any number)")
    interface.add_argument("--opset", type=int, default=18, metavar="N", help="of ONNX's operators (default: 18)")
    precision = parser.add_argument_group("precision and comparison")
    precision.add_argument("--quantize", choices=("int8",), help="weights and activations in 8 bits; needs --dataset")
    precision.add_argument("--fp16", action="store_true", help="weights and activations in half precision")
    precision.add_argument(
        "--dataset",
        metavar="DATA[:SPLIT]",
        help="captures that the graph is compared with the model on: a folder of scripts/convert_dataset.py, a CSV "
        "list, a folder for datasets.load_dataset or OWNER/NAME on the Hub (docs/data.md)",
    )
    precision.add_argument(
        "--calibrate-on",
        metavar="DATA[:SPLIT]",
        help="captures that int8 is calibrated on (default: some of --dataset, which aren't compared then)",
    )
    precision.add_argument(
        "--captures", type=int, metavar="N", help="how many of them (default: 128, and at most half of a --dataset)"
    )
    precision.add_argument("--seed", type=int, default=0, help="of the captures that are drawn (default: 0)")
    precision.add_argument(
        "--max-acer-increase",
        type=float,
        default=2.0,
        metavar="POINTS",
        help="refuse a graph whose ACER on --dataset is higher than the model's by more (default: 2)",
    )
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.export.job import export_model
    from patchnet_hf.export.settings import ExportSettings

    given = vars(arguments)
    settings = ExportSettings(**{name: given[name] for name in ExportSettings.__dataclass_fields__})

    def progress(doing, steps):
        return tqdm(steps, desc=doing, leave=False, disable=None)

    # The script by the name that it has in the project: where it lies on this machine is nobody's business.
    command = shlex.join(["python", "scripts/export_onnx.py", *sys.argv[1:]])
    export = export_model(
        arguments.model,
        arguments.output,
        settings,
        overwrite=arguments.overwrite,
        revision=arguments.revision,
        command=command,
        progress=progress,
    )
    print(export.text())
    print(f"next: python scripts/predict.py --model {shlex.quote(arguments.output)} IMAGE...")
    return 0


if __name__ == "__main__":
    run_command(main)
