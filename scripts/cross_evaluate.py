"""Trains and tests a recipe under a protocol: leave one dataset, attack type or device out, or splits written out.

A protocol is a YAML file (docs/protocols.md). Each of its folds is trained by scripts/train.py in a process of its
own, the threshold is chosen on the fold's development set, and the error rates are those of its test set. Under
--output appear a folder for each fold with its model and scores, results.json, results.csv and table.md. Run again,
the same command skips what is finished and goes on with what was interrupted.
"""

import os
from pathlib import Path

from patchnet_hf.command_line import CommandParser, run_command

EXAMPLES = """examples:
  python scripts/cross_evaluate.py --protocol configs/protocols/demo_leave_one_attack_out.yaml --dry-run
  python scripts/cross_evaluate.py --protocol configs/protocols/demo_leave_one_attack_out.yaml --output outputs/loao
  python scripts/cross_evaluate.py --protocol configs/protocols/oulu_npu_4.yaml --output outputs/oulu4 \\
    --accelerate-config configs/accelerate/several_gpus.yaml
"""


def main() -> int:
    parser = CommandParser(prog="cross_evaluate.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--protocol", required=True, metavar="FILE.yaml", help="what is trained on and tested")
    parser.add_argument("--output", metavar="DIR", help="folder for the folds and the results")
    parser.add_argument("--dry-run", action="store_true", help="show the folds and what is in each; train nothing")
    parser.add_argument("--folds", nargs="+", metavar="NAME", help="only these folds (default: all)")
    parser.add_argument(
        "--overwrite", action="store_true", help="train folds anew whose settings or captures have changed since"
    )
    parser.add_argument(
        "--accelerate-config",
        metavar="FILE.yaml",
        help="train by accelerate launch with this configuration, whose num_processes counts the GPUs (default: one "
        "process, on one GPU or the CPU)",
    )
    arguments = parser.parse_args()
    if not arguments.dry_run and arguments.output is None:
        parser.error("--output is missing; --dry-run does without")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error("start it with python; it starts its trainings by accelerate launch with --accelerate-config")
    # As it is now: checking a recipe's options sets variables that a training would inherit.
    environment = dict(os.environ)

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.protocols.cross_evaluation import cross_evaluate, plan, report

    job = plan(arguments.protocol)
    folds = job.chosen(arguments.folds)
    print(f"{job.protocol.name}: {len(job.folds)} folds of {len(job.pool)} captures\n")
    print(job.parts_table(folds))
    for note in job.notes(folds):
        print(f"note: {note}")
    if arguments.dry_run:
        print("\nnext: the same command with --output DIR and without --dry-run trains and tests them")
        return 0
    print(flush=True)
    results = cross_evaluate(
        job,
        arguments.output,
        Path(__file__).with_name("train.py"),
        arguments.folds,
        arguments.overwrite,
        arguments.accelerate_config,
        environment,
        lambda batches, name: tqdm(batches, desc=name, unit="batch", leave=False),
    )
    print(f"\n{report(results)}\n")
    print(f"results.json, results.csv and table.md are in {arguments.output}, each fold's model in a folder there")
    first = results["folds"][0]["folder"]
    print(f"next: python scripts/predict.py --model {arguments.output}/{first} IMAGE...")
    return 0


if __name__ == "__main__":
    run_command(main)
