"""Stores what a model sees in a few known captures of a device, so that others of it are judged by their similarity.

The references go into a safetensors file, which `--references FILE` of predict.py and evaluate.py reads.
"""

import shlex

from patchnet_hf.command_line import CommandParser, run_command

EXAMPLES = """examples:
  python scripts/enroll.py --model outputs/demo --live a.jpg b.jpg c.jpg --attack print.jpg \\
      --capture-device tablet_c
      image files, each a face crop
  python scripts/enroll.py --model outputs/demo --dataset data/demo-arrow:val_unseen --capture-device tablet_c \\
      --count 5 --threshold-on data/demo-arrow:val_seen
      five random live captures of a dataset; the threshold of scores with them is chosen on val_seen
  ... --trials 20
      also: what 20 other choices of five bring on the rest of val_unseen
"""


def main() -> int:
    parser = CommandParser(prog="enroll.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--model", required=True, help="a trained model: a folder, or an id of the Hub")
    parser.add_argument("--live", nargs="+", default=[], metavar="IMAGE", help="captures of living faces")
    parser.add_argument("--attack", nargs="+", default=[], metavar="IMAGE", help="captures of attacks, where known")
    parser.add_argument(
        "--dataset",
        metavar="DATA[:SPLIT]",
        help="draw the captures from a dataset instead: a folder of scripts/convert_dataset.py, a CSV list, a folder "
        "for datasets.load_dataset or OWNER/NAME on the Hub (docs/data.md)",
    )
    parser.add_argument(
        "--capture-device", metavar="NAME", help="the device's name; with --dataset: whose captures to draw"
    )
    parser.add_argument("--count", type=int, default=5, help="live captures to draw (default: 5)")
    parser.add_argument("--attack-count", type=int, default=0, help="attacks to draw (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument(
        "--threshold-on",
        metavar="DATA[:SPLIT]",
        help="choose the threshold (and scale and bias) of scores with references on this development set, by "
        "enrolling each of its devices (default: those of the model)",
    )
    parser.add_argument("--criterion", default="eer", help="of that threshold: eer (default), apcer=0.05, bpcer=0.01")
    parser.add_argument(
        "--trials", type=int, default=0, metavar="N", help="with --dataset: report what N choices of references bring"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="default: references-NAME.safetensors, or references.safetensors, in --model",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE where it exists")
    parser.add_argument("--revision", help="branch, tag or commit of a model of the Hub")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes (default: auto)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="captures in one pass (default: 8)")
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.evaluation.enrollment import enroll_device

    def progress(name, batches):
        return tqdm(batches, desc=f"embedding {name}", unit="batch", leave=False, disable=None)

    enrolled = enroll_device(
        arguments.model,
        arguments.live,
        arguments.attack,
        arguments.dataset,
        arguments.capture_device,
        count=arguments.count,
        attack_count=arguments.attack_count,
        seed=arguments.seed,
        threshold_on=arguments.threshold_on,
        criterion=arguments.criterion,
        trials=arguments.trials,
        output=arguments.output,
        overwrite=arguments.overwrite,
        revision=arguments.revision,
        device=arguments.device,
        batch_size=arguments.batch_size,
        progress=progress,
    )
    references = enrolled.references
    print(f"{references.summary()}: {', '.join(references.files)}")
    if references.decision_threshold is not None:
        print(f"decision threshold: {references.decision_threshold:.4g} ({references.developed_on})")
    else:
        print("decision threshold: the model's own; --threshold-on DIR:SPLIT chooses one for scores with references")
        if references.live_count == 1:
            print("a single live reference moves scores towards attack: enrol two or more, or use --threshold-on")
    if enrolled.trial_table is not None:
        print(f"\n{enrolled.trial_table}\n")
    print(f"written to {enrolled.path}")
    path = shlex.quote(str(enrolled.path))
    print(f"next: python scripts/predict.py --model {shlex.quote(arguments.model)} --references {path} IMAGE...")
    return 0


if __name__ == "__main__":
    run_command(main, less_memory="a smaller --batch-size")
