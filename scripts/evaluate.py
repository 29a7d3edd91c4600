#!/usr/bin/env python
"""Measures a trained model on datasets, at a threshold that the reported data had no part in."""

import os
import shlex
import sys

from patchnet_hf.command_line import CommandParser, run_command

DESCRIPTION = """\
Measures a trained model on datasets (ISO/IEC 30107-3): APCER of each attack type, BPCER, ACER, EER and AUC with
confidence intervals, for each set and for all of them pooled.

Under --output appear report.html (open it in a browser: curves, histograms, the images that went worst), metrics.json
(every number and what was evaluated) and scores.csv (every image with its score and those of its patches).
"""

EXAMPLES = """\
examples:
  evaluate.py --model outputs/demo --dataset data/demo-arrow:val_unseen --output outputs/demo-evaluation
      at the model's own threshold
  evaluate.py --model outputs/demo --dataset data/demo-arrow:val_unseen --output outputs/demo-evaluation \\
      --threshold-on data/demo-arrow:val_seen --criterion apcer=0.05
      at the threshold that lets 5 % of the worst attack type of another set pass
  evaluate.py --model someone/patchnet --dataset data/a:test data/b:test --output outputs/both --level clip
      a model of the Hub, two sets and their total, scores averaged over each video
"""


def main() -> int:
    parser = CommandParser(prog="evaluate.py", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--model", required=True, help="a trained model: a folder, an exported .onnx file, or an id of the Hub"
    )
    parser.add_argument(
        "--references", metavar="FILE", help="score by similarity to known captures of the device (scripts/enroll.py)"
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        required=True,
        metavar="DATA[:SPLIT]",
        help="what to report: folders of scripts/convert_dataset.py, CSV lists, folders for datasets.load_dataset or "
        "OWNER/NAME on the Hub, with a split where they have several (docs/data.md)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results, new or empty")
    parser.add_argument("--overwrite", action="store_true", help="replace an evaluation that is in DIR already")
    point = parser.add_argument_group("threshold (default: the model's own)")
    point.add_argument("--threshold", type=float, metavar="P", help="accept from this live probability on")
    point.add_argument(
        "--threshold-on", metavar="DATA[:SPLIT]", help="choose the threshold on this set, which isn't reported"
    )
    point.add_argument(
        "--criterion", metavar="NAME", help="how to choose it: eer (default), apcer=SHARE or bpcer=SHARE"
    )
    counted = parser.add_argument_group("what is counted")
    counted.add_argument(
        "--level", choices=("image", "clip"), default="image", help="images (default), or videos by their mean score"
    )
    counted.add_argument(
        "--intervals-over",
        choices=("subject", "video", "image"),
        help="what confidence intervals draw again (default: subjects where all images have one, else videos, else "
        "images)",
    )
    counted.add_argument(
        "--confidence", type=float, default=0.95, metavar="SHARE", help="of intervals (default: 0.95)"
    )
    counted.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap (default: 1000)")
    counted.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    running = parser.add_argument_group("running")
    running.add_argument("--batch-size", type=int, default=8, metavar="N", help="images in one pass (default: 8)")
    running.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that read and decode (default: 0, none)"
    )
    running.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    running.add_argument("--revision", metavar="NAME", help="branch, tag or commit, of a model of the Hub")
    running.add_argument(
        "--thumbnails", type=int, default=8, metavar="N", help="worst images of each class and set shown (default: 8)"
    )
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.evaluation.job import evaluate
    from patchnet_hf.evaluation.numbers import IntervalSettings
    from patchnet_hf.evaluation.output import check_output, write_evaluation
    from patchnet_hf.evaluation.report import REPORT_FILE
    from patchnet_hf.evaluation.sets import load_evaluation_data
    from patchnet_hf.evaluation.settings import EvaluationSettings
    from patchnet_hf.evaluation.tables import evaluation_text
    from patchnet_hf.inference.references import load_references, with_references
    from patchnet_hf.inference.scorers import load_scorer

    settings = EvaluationSettings(
        threshold=arguments.threshold,
        threshold_on=arguments.threshold_on,
        criterion=arguments.criterion,
        level=arguments.level,
        intervals=IntervalSettings(
            arguments.intervals_over, arguments.confidence, arguments.resamples, arguments.seed
        ),
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        thumbnails=arguments.thumbnails,
    )
    check_output(arguments.output, arguments.overwrite)
    references = load_references(arguments.references)
    data = load_evaluation_data(arguments.dataset, settings, references.captures_sha256 if references else ())
    scorer = with_references(load_scorer(arguments.model, arguments.revision, arguments.device), references)

    def progress(batches, name):
        return tqdm(batches, desc=f"scoring {name}", unit="batch", leave=False, disable=None)

    # The script by the name that it has in the project: where it lies on this machine is nobody's business.
    command = shlex.join(["python", "scripts/evaluate.py", *sys.argv[1:]])
    evaluation = evaluate(scorer, data, settings, command, progress)
    write_evaluation(evaluation, arguments.output, arguments.overwrite)
    print(evaluation_text(evaluation.shown, evaluation.point, settings))
    for name, count in data.left_out.items():
        print(f"left out: {count} captures of {name} that are among the references")
    print(f"next: open {shlex.quote(os.path.join(arguments.output, REPORT_FILE))}")
    return 0


if __name__ == "__main__":
    run_command(main, less_memory="a smaller --batch-size")
