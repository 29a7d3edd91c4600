#!/usr/bin/env python
"""Turns a tree of images or videos into an image folder with CSV lists, which convert_dataset.py and training take."""

import shlex
from pathlib import Path

from patchnet_hf.command_line import CommandParser, run_command

DESCRIPTION = """\
Turns a tree of images or videos into an image folder with CSV lists, which convert_dataset.py and training take.

What a file shows is told by a known layout (--layout), or by the names of the folders that it lies in (--live,
--attack) and patterns over its path (--pattern). No image is encoded again: files are copied, JPEG files are cropped
on their blocks with the camera's coefficients, PNG stays PNG, frames of videos become PNG.

--output gets images/, markup.csv (with splits: train.csv, val.csv, test.csv), overview.png to look at, and
preparation.json with all counts. See docs/prepare.md.
"""

EXAMPLES = """\
examples:
  prepare_dataset.py --input OULU-NPU --output data/oulu --layout oulu_npu --detect
      ten frames of each video, cut around the face; splits by the dataset's own folders
  prepare_dataset.py --input captures --output data/captures --live live,real --attack print=print,photo \\
    --attack replay=replay,screen --pattern '(?P<subject>\\d+)_(?P<device>\\w+)_.*' --boxes txt \\
    --split train=0.7,val=0.15,test=0.15 --group-by subject
      labels by folders, boxes from text files next to the images, no person in two splits
"""

LAYOUTS = Path(__file__).resolve().parent.parent / "configs" / "layouts"


def parser() -> CommandParser:
    parser = CommandParser(prog="prepare_dataset.py", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--input", required=True, metavar="DIR", help="folder with the images or videos")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the dataset, new or empty")

    meaning = parser.add_argument_group("what a file shows")
    known = ", ".join(sorted(file.stem for file in LAYOUTS.glob("*.yaml")))
    meaning.add_argument("--layout", metavar="NAME", help=f"a known layout ({known}), or a path to a YAML file")
    meaning.add_argument(
        "--live",
        action="append",
        default=[],
        metavar="NAME,NAME",
        help="names of folders with bona fides; whole names count, in upper or lower case, * and ? stand for anything",
    )
    meaning.add_argument(
        "--attack",
        action="append",
        default=[],
        metavar="[TYPE=]NAME,NAME",
        help="names of folders with attacks of a type; may be given several times",
    )
    meaning.add_argument(
        "--pattern",
        action="append",
        default=[],
        metavar="REGEX",
        help="regular expression over a file's relative path with groups (?P<device>…), (?P<subject>…), "
        "(?P<session>…), (?P<video>…), (?P<material>…); of several the first that matches counts",
    )
    meaning.add_argument(
        "--source", metavar="NAME", help="name of the dataset (default: the layout's or the folder's)"
    )

    faces = parser.add_argument_group("faces (without these options images are taken as face crops)")
    faces.add_argument(
        "--boxes",
        nargs="+",
        metavar="SOURCE",
        help="txt: a text file next to each image, `left top` and `right bottom`; CSV files with the columns "
        "image_name,face_x,face_y,face_w,face_h; none: not even those of the layout",
    )
    faces.add_argument("--detect", action="store_true", help="find the largest face of each image (needs dlib)")
    faces.add_argument(
        "--keep-images", action="store_true", help="keep whole images, with the boxes as columns, instead of crops"
    )
    faces.add_argument(
        "--expand",
        type=float,
        metavar="FACTOR",
        help="how much wider and higher than the box a crop is at least (default 1.3; 3 is 9 times its area)",
    )
    faces.add_argument(
        "--border",
        choices=("clip", "replicate"),
        help="where the grown box leaves the image: clip it (default), or replicate the outermost pixels",
    )

    writing = parser.add_argument_group("writing")
    writing.add_argument("--frames", type=int, default=10, metavar="N", help="frames of each video (default 10)")
    writing.add_argument(
        "--reencode",
        metavar="QUALITY",
        help="decode and encode all images again, as JPEG of this quality (1 to 100) or as png; changes their texture",
    )
    writing.add_argument(
        "--split",
        metavar="SPLIT=SHARE,…",
        help="train=0.7,val=0.15,test=0.15; or folders: by folders called train, val or dev, test; or none: one list "
        "(default: the layout's splits, else none)",
    )
    writing.add_argument(
        "--group-by",
        metavar="COLUMN",
        help="what stays in one split with --split SHARES: subject (default), session, video or image",
    )
    writing.add_argument("--seed", type=int, metavar="N", help="other seeds give other splits (default 0)")
    writing.add_argument("--samples", type=int, default=8, metavar="N", help="pictures of each kind in overview.png")
    writing.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="files that can't be used: stop and show them (default), or skip and list them in rejected.csv",
    )
    writing.add_argument("--overwrite", action="store_true", help="replace a prepared dataset that is in --output")
    writing.add_argument(
        "--workers", type=int, metavar="N", help="threads (default: one for each processor, at most 8)"
    )
    return parser


def main() -> int:
    arguments = parser().parse_args()

    # Imported late, so that --help and a mistyped option answer at once.
    from patchnet_hf.preparation.job import OVERVIEW_FILE, REJECTED_FILE, SUMMARY_FILE, prepare
    from patchnet_hf.preparation.settings import (
        PreparationSettings,
        choose_boxes,
        choose_images,
        choose_meanings,
        parse_split,
    )

    meanings = choose_meanings(arguments.layout, LAYOUTS, arguments.live, arguments.attack, arguments.pattern)
    boxes = choose_boxes(arguments.boxes, arguments.detect, meanings)
    settings = PreparationSettings(
        input=arguments.input,
        output=arguments.output,
        meanings=meanings,
        source=arguments.source,
        boxes=boxes,
        images=choose_images(boxes, arguments.keep_images, arguments.expand, arguments.border, arguments.reencode),
        frames=arguments.frames,
        split=parse_split(arguments.split, arguments.group_by, arguments.seed),
        on_error=arguments.on_error,
        overwrite=arguments.overwrite,
        workers=arguments.workers,
        samples=arguments.samples,
    )
    summary = prepare(settings)
    print(summary.table())
    print()
    for remark in summary.remarks():
        print(remark)
    if summary.rejected:
        print(f"left out: {summary.rejected}, see {arguments.output}/{REJECTED_FILE}")
    print(f"written to {arguments.output}: look at {OVERVIEW_FILE}; these counts are in {SUMMARY_FILE}")
    output = shlex.quote(arguments.output.rstrip("/"))
    print(f"next: python scripts/convert_dataset.py --csv {output} --output {output}-arrow")
    return 0


if __name__ == "__main__":
    run_command(main)
