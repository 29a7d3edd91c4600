"""Says for each face image how likely it is live, and which of its patches say so."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from patchnet_hf.command_line import EXIT_BAD_INPUT, CommandParser, run_command
from patchnet_hf.errors import InputError

PICTURE_FORMATS = (".png", ".pdf", ".svg")
MOST_DRAWN = 60

EXAMPLES = """examples:
  python scripts/predict.py --model outputs/demo face1.jpg face2.jpg
  python scripts/predict.py --model outputs/demo faces/*.jpg --json scores.json --picture patches.png
"""


def main() -> int:
    parser = CommandParser(prog="predict.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, each a face crop")
    parser.add_argument(
        "--model", required=True, help="a trained model: a folder, an exported .onnx file, or an id of the Hub"
    )
    parser.add_argument(
        "--references", metavar="FILE", help="score by similarity to known captures of the device (scripts/enroll.py)"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the scores as JSON")
    parser.add_argument("--picture", metavar="FILE", help="also draw the patches with their scores (.png, .pdf, .svg)")
    parser.add_argument("--batch-size", type=int, default=8, help="images in one pass (default: 8)")
    arguments = parser.parse_args()

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.inference.pictures import draw_patch_scores
    from patchnet_hf.inference.references import with_references
    from patchnet_hf.inference.scorers import load_scorer
    from patchnet_hf.inference.scoring import score_files
    from patchnet_hf.text_table import text_table

    # Before the scoring, which may take long, not after it.
    for output in filter(None, (arguments.json, arguments.picture)):
        if not Path(output).absolute().parent.is_dir():
            raise InputError(f"the folder of {output} doesn't exist")
    if arguments.picture and Path(arguments.picture).suffix not in PICTURE_FORMATS:
        raise InputError(f"{arguments.picture} ends in none of {', '.join(PICTURE_FORMATS)}")
    scorer = with_references(load_scorer(arguments.model), arguments.references)
    scores, drawn = [], []
    scored = score_files(scorer, arguments.images, arguments.batch_size)
    for score in tqdm(scored, total=len(arguments.images), desc="scoring", unit="image", leave=False):
        if arguments.picture and score.error is None and len(drawn) < MOST_DRAWN:
            drawn.append(score)
        # Of all the others the pixels are let go: thousands of captures would fill the memory.
        scores.append(replace(score, views=None))
    usable = [score for score in scores if score.error is None]
    if usable:
        rows = [[str(score.path), score.verdict, f"{score.probability:.4f}"] for score in usable]
        print(text_table(["image", "verdict", "P(live)"], rows, left=(0, 1)))
    for score in scores:
        if score.error is not None:
            print(f"predict.py: error: {score.path}: {score.error}", file=sys.stderr)
    if arguments.json:
        text = json.dumps([score.as_json() for score in scores], indent=2)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    if drawn:
        draw_patch_scores(drawn, arguments.picture)
        some = f" (the first {len(drawn)} of {len(usable)} captures)" if len(drawn) < len(usable) else ""
        print(f"picture: {arguments.picture}{some}")
    return EXIT_BAD_INPUT if len(usable) < len(scores) else 0


if __name__ == "__main__":
    run_command(main)
