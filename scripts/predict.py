"""Says for each face image or clip how likely it is live, and which of its patches say so."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from patchnet_hf.command_line import EXIT_BAD_INPUT, CommandParser, run_command
from patchnet_hf.errors import InputError

PICTURE_FORMATS = (".png", ".pdf", ".svg")
MOST_DRAWN = 60

EXAMPLES = """examples:
  python scripts/predict.py --model outputs/demo face1.jpg face2.jpg
  python scripts/predict.py --model outputs/demo faces/ 'more/**/*.png' --json scores.json --overlay overlays
  python scripts/predict.py --model outputs/demo clip.mp4 --frames 5
  python scripts/predict.py --model outputs/demo photo.jpg --face-box 249 12 194 194
  python scripts/predict.py --model outputs/demo --camera 0

exit code: 0 when everything was scored, 2 when something could not be (the rest was)
"""


def main() -> int:
    parser = CommandParser(prog="predict.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="an image or video file, a folder (all images and videos in it and below), or a glob in quotes",
    )
    parser.add_argument(
        "--model", required=True, help="a trained model: a folder, an exported .onnx file, or an id of the Hub"
    )
    parser.add_argument("--revision", help="branch, tag or commit, of a model of the Hub")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="what computes (default: auto)"
    )
    parser.add_argument(
        "--references", metavar="FILE", help="score by similarity to known captures of the device (scripts/enroll.py)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images in one pass (default: 8)")
    reading = parser.add_argument_group("what is read")
    reading.add_argument("--camera", type=int, metavar="N", help="also take frames of this camera; the first is 0")
    reading.add_argument(
        "--frames", type=int, default=9, help="frames of a clip, spread evenly, or of a camera (default: 9)"
    )
    reading.add_argument(
        "--face-box",
        type=int,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="the face in pixels, in all inputs; without a box a picture is a face crop",
    )
    reading.add_argument(
        "--boxes",
        metavar="FILE",
        help="CSV with image_name,face_x,face_y,face_w,face_h: the face of each input; without INPUT all of its files",
    )
    writing = parser.add_argument_group("what is written")
    writing.add_argument("--json", metavar="FILE", help="also write the scores as JSON; - prints them, and no table")
    writing.add_argument("--picture", metavar="FILE", help="also draw the patches with their scores: .png, .pdf, .svg")
    writing.add_argument("--overlay", metavar="DIR", help="also draw each picture with its liveness map over the face")
    writing.add_argument(
        "--map",
        choices=("auto", "dense", "patches"),
        default="auto",
        help="the map in one pass of the network, or patch by patch (exact, slower); auto: dense where possible",
    )
    writing.add_argument(
        "--stride", type=int, help="pixels between positions of the map (default: the network's step)"
    )
    arguments = parser.parse_args()
    if not arguments.inputs and arguments.camera is None and not arguments.boxes:
        parser.error("nothing to score: name an image, a folder, a glob or a video, or --camera 0")
    if arguments.face_box and arguments.boxes:
        parser.error("--face-box and --boxes exclude each other")
    if not arguments.overlay and (arguments.map != "auto" or arguments.stride is not None):
        parser.error("--map and --stride are for the pictures of --overlay DIR")

    # Imported only now, so that --help and a wrong option answer at once.
    from tqdm import tqdm

    from patchnet_hf.inference.face_boxes import FaceBoxes
    from patchnet_hf.inference.liveness_map import LivenessMapper
    from patchnet_hf.inference.overlays import Overlays
    from patchnet_hf.inference.pictures import draw_patch_scores
    from patchnet_hf.inference.references import load_references, with_references
    from patchnet_hf.inference.scorers import load_scorer
    from patchnet_hf.inference.scoring import score_sources, score_table
    from patchnet_hf.inference.sources import camera_source, find_sources

    # Before the scoring, which may take long, not after it.
    to_stdout = arguments.json == "-"
    for output in filter(None, (None if to_stdout else arguments.json, arguments.picture)):
        if not Path(output).absolute().parent.is_dir():
            raise InputError(f"the folder of {output} doesn't exist")
        if os.path.isdir(output):
            raise InputError(f"{output} is a folder; name a file in it")
    if arguments.picture and Path(arguments.picture).suffix.lower() not in PICTURE_FORMATS:
        raise InputError(f"{arguments.picture} ends in none of {', '.join(PICTURE_FORMATS)}")
    boxes = FaceBoxes(arguments.boxes) if arguments.boxes else None
    sources = find_sources(arguments.inputs or (boxes.files if boxes else []))
    sources += [] if arguments.camera is None else [camera_source(arguments.camera)]
    references = load_references(arguments.references)
    scorer = with_references(load_scorer(arguments.model, arguments.revision, arguments.device), references)
    overlays = None
    if arguments.overlay:
        overlays = Overlays(LivenessMapper(scorer, arguments.map, arguments.stride), arguments.overlay, sources)
    face_box = boxes or (lambda path: arguments.face_box and tuple(arguments.face_box))
    scores, drawn = [], []
    scored = score_sources(scorer, sources, arguments.batch_size, arguments.frames, face_box, bool(overlays))
    for score in tqdm(scored, total=len(sources), desc="scoring", unit="input", leave=False):
        if overlays:
            score = overlays.draw(score)
        if arguments.picture:
            drawn += [replace(picture, image=None) for picture in score.pictures[: MOST_DRAWN - len(drawn)]]
        # Of all the others the pixels are let go: thousands of captures would fill the memory.
        scores.append(score.without_pixels())
    entries = json.dumps([score.as_json() for score in scores], indent=2, ensure_ascii=False)
    if to_stdout:
        print(entries)
    else:
        print(score_table(scores))
        if arguments.json:
            try:
                Path(arguments.json).write_text(entries + "\n", encoding="utf-8")
            except OSError as error:
                raise InputError(f"{arguments.json} can't be written: {error.strerror}") from error
    notes = sys.stderr if to_stdout else sys.stdout
    pictures = sum(len(score.pictures) for score in scores)
    if drawn:
        draw_patch_scores(drawn, arguments.picture)
        some = f" (the first {len(drawn)} of {pictures} pictures)" if len(drawn) < pictures else ""
        print(f"picture: {arguments.picture}{some}", file=notes)
    if overlays and pictures:
        print(f"overlays: {pictures} in {arguments.overlay}", file=notes)
    unusable = sum(score.error is not None for score in scores)
    if unusable:
        print(f"predict.py: error: {unusable} of {len(scores)} inputs can't be used", file=sys.stderr)
    elif not arguments.overlay:
        print("next: see where the score comes from with --overlay DIR", file=notes)
    return EXIT_BAD_INPUT if unusable else 0


if __name__ == "__main__":
    run_command(main, less_memory="a smaller --batch-size")
