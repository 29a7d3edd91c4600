"""Makes a model's live probabilities mean what they say, and sets its decision threshold.

Fits the scale and bias of the live log-odds (Platt, maximum likelihood) and the threshold on a development set, and
writes both into the model's config.json. The ranking of captures, and so EER and AUC, stay as they are. Beside it
calibration.json and reliability.png say what it brought.
"""

import shlex

from patchnet_hf.command_line import CommandParser, run_command

EXAMPLES = """examples:
  python scripts/calibrate.py --model outputs/demo --dataset data/demo-arrow:val_seen
  python scripts/calibrate.py --model outputs/demo --dataset data/demo-arrow:val_seen --test data/demo-arrow:val_unseen
  python scripts/calibrate.py --model outputs/demo --dataset data/demo-arrow:val_seen \\
      --criterion apcer=0.05 --output outputs/strict
"""


def main() -> int:
    parser = CommandParser(prog="calibrate.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--model", required=True, help="a trained model: a folder, or an id of the Hub")
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="DATA[:SPLIT]",
        help="the development set to fit on, not what is reported: a folder of scripts/convert_dataset.py, a CSV "
        "list, a folder for datasets.load_dataset or OWNER/NAME on the Hub (docs/data.md)",
    )
    parser.add_argument(
        "--criterion",
        default="eer",
        help="what the threshold is chosen for on that set: eer (default), apcer=0.05 (accept at most 5 %% of the "
        "worst attack type), bpcer=0.01 (reject at most 1 %% of live captures)",
    )
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="DATA[:SPLIT]", help="further sets to report on, before and after"
    )
    parser.add_argument("--output", metavar="DIR", help="make a calibrated copy there (default: change the model)")
    parser.add_argument("--overwrite", action="store_true", help="replace a calibrated copy that is in DIR already")
    parser.add_argument(
        "--prior",
        type=float,
        metavar="SHARE",
        help="share of live captures that probabilities are meant for, such as 0.5 (default: that of the "
        "development set); it changes neither the ranking nor who is accepted",
    )
    parser.add_argument("--bins", type=int, default=15, help="of the expected calibration error (default: 15)")
    parser.add_argument("--revision", help="branch, tag or commit of a model of the Hub")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes (default: auto)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="captures in one pass (default: 8)")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode (default: 0)")
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.evaluation.calibration import calibrate_model, stale_card_line
    from patchnet_hf.evaluation.calibration_report import (
        DIAGRAM_FILE,
        RESULT_FILE,
        calibration_summary,
        calibration_table,
    )

    def progress(name, batches):
        return tqdm(batches, desc=f"scoring {name}", unit="batch", leave=False, disable=None)

    report, folder = calibrate_model(
        arguments.model,
        arguments.dataset,
        arguments.criterion,
        arguments.test,
        arguments.output,
        prior=arguments.prior,
        bins=arguments.bins,
        overwrite=arguments.overwrite,
        revision=arguments.revision,
        device=arguments.device,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        progress=progress,
    )
    print(calibration_table(report))
    print(f"\n{calibration_summary(report)}")
    print(f"written to {folder}: config.json, {RESULT_FILE}, {DIAGRAM_FILE}")
    if (line := stale_card_line(folder)) is not None:
        print(line)
    print(f"next: python scripts/predict.py --model {shlex.quote(str(folder))} IMAGE...")
    return 0


if __name__ == "__main__":
    run_command(main, less_memory="a smaller --batch-size")
