#!/usr/bin/env python
"""Tries backbones: each is trained by its recipe, saved, loaded again, exported and timed."""

import os
import shlex
import sys
from pathlib import Path

from patchnet_hf.command_line import CommandParser, run_command

DESCRIPTION = """\
Trains each recipe of configs/backbones for its few steps, saves the model, loads it again, exports it to ONNX and
times it. Nothing is downloaded and nothing is left behind. Exit code 1 if a backbone misses a bar: its loss falls,
weights and answers are bit for bit the same after loading, the graph's live log-odds differ by 1e-4 at most.
"""

EXAMPLES = """\
examples:
  compare_backbones.py
      all recipes on the demo data, some six minutes on two cores
  compare_backbones.py fastvit_t8 cdcn --json backbones.json
      two of them, and every number in a file
"""

RECIPES = "configs/backbones"


def main() -> int:
    parser = CommandParser(prog="compare_backbones.py", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes by name (default: all)")
    parser.add_argument("--recipes", default=RECIPES, metavar="DIR", help=f"where they are (default: {RECIPES})")
    parser.add_argument(
        "--dataset",
        metavar="DIR",
        help="captures to train on instead of the recipes' own; their filters choose of them",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="to compute with (default: one for each core)")
    parser.add_argument("--repeats", type=int, default=10, metavar="N", help="timed calls of each (default: 10)")
    parser.add_argument("--json", metavar="FILE", help="write every number to a file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    # Backbones are built and not downloaded; whatever would try is to fail.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from patchnet_hf.benchmarks.backbone_trial import TrialSettings
    from patchnet_hf.benchmarks.backbones import compare_backbones, recipe_files
    from patchnet_hf.export.reference import check_packages

    check_packages()
    _check_json(arguments.json)
    recipes = recipe_files(arguments.recipes, arguments.names)
    settings = TrialSettings(dataset=arguments.dataset, repeats=arguments.repeats)
    comparison = compare_backbones(recipes, settings, arguments.threads, _progress)
    print(comparison.markdown() if arguments.markdown else comparison.text())
    _write_json(comparison, arguments.json)
    if comparison.failed:
        print(f"compare_backbones.py: a bar is missed by {', '.join(comparison.failed)}", file=sys.stderr)
    return 1 if comparison.failed else 0


def _check_json(file: str | None) -> None:
    """Says before a long measurement what would stop it at its end."""
    from patchnet_hf.errors import InputError

    if file is not None and (Path(file).is_dir() or not Path(file).resolve().parent.is_dir()):
        raise InputError(f"--json {file} can't be written: expected a file in a folder that exists")


def _write_json(comparison, file: str | None) -> None:
    if file is None:
        return
    from patchnet_hf.training.report import write_json

    # The script by the name that it has in the project: where it lies on this machine is nobody's business.
    command = shlex.join(["python", "scripts/compare_backbones.py", *sys.argv[1:]])
    write_json(Path(file), {"command": command, **comparison.as_json()}, sort_keys=False)


def _progress(doing: str) -> None:
    """Only for who watches."""
    if sys.stderr.isatty():
        print(f"\033[K{doing} ...", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
