#!/usr/bin/env python
"""Tries backbones: each is trained by its recipe, saved, loaded again, exported and timed."""

import os
import sys

# Backbones are built and not downloaded; whatever would try is to fail. The Hub's client looks at it when imported.
os.environ["HF_HUB_OFFLINE"] = "1"

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
    # Imported only now, so that --help and a wrong option answer at once.
    from patchnet_hf.benchmarks.backbone_trial import TrialSettings
    from patchnet_hf.benchmarks.backbones import compare_backbones, recipe_files
    from patchnet_hf.benchmarks.output import check_json, show_progress, write_json
    from patchnet_hf.export.reference import check_packages

    check_packages()
    check_json(arguments.json)
    recipes = recipe_files(arguments.recipes, arguments.names)
    settings = TrialSettings(dataset=arguments.dataset, repeats=arguments.repeats)
    comparison = compare_backbones(recipes, settings, arguments.threads, show_progress)
    print(comparison.markdown() if arguments.markdown else comparison.text())
    write_json(comparison.as_json(), arguments.json, parser.prog)
    if comparison.failed:
        print(f"compare_backbones.py: a bar is missed by {', '.join(comparison.failed)}", file=sys.stderr)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    run_command(main)
