#!/usr/bin/env python
"""Turns CSV lists of face images into one Arrow dataset for training and evaluation."""

import argparse
import shlex

from patchnet_hf.command_line import CommandParser, run_command

DESCRIPTION = """\
Turns CSV lists of face images into one Arrow dataset for training and evaluation.

A CSV list stands in the folder that its image names are relative to:

    image_name,label
    live/0001.jpg,1
    print/0001.jpg,0

label is 1 for bona fide (a living face) and 0 for an attack. The header may be left out; the delimiter may be a comma,
a semicolon, a tab or |. With a header, these columns are used as well: attack_type (print, replay, mask ...), device
and material (together the patch type that PatchNet learns) or patch_type, source, subject, session, video, and
face_x,face_y,face_w,face_h (the face's box in pixels, when the image is not a face crop already).
"""

EXAMPLES = """\
examples:
  convert_dataset.py --csv nuaa/train.csv nuaa/val.csv --output data/nuaa
      splits train and val, named after the files
  convert_dataset.py --csv nuaa --output data/nuaa
      a folder: its markup.csv, else those of train.csv, val.csv and test.csv that are there
  convert_dataset.py --csv train=nuaa/a.csv train=oulu/b.csv val=oulu/c.csv --output data/both --on-error skip
      two lists joined in one split; rows that can't be used are left out and listed in data/both/rejected.csv

However it ends, DIR is there whole or not at all; after Ctrl-C or a crash the same command goes on where it stopped.
"""


def main() -> int:
    parser = CommandParser(prog="convert_dataset.py", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument(
        "--csv",
        nargs="+",
        required=True,
        metavar="[SPLIT=]PATH",
        help="CSV files or folders; SPLIT= names the split (default: the file's name, or a markup.csv's folder)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the dataset, new or empty")
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="rows that can't be used: stop and show all of them (default), or skip and list them in rejected.csv",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that is in DIR already")
    parser.add_argument(
        "--embed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="put the images' bytes into the dataset (default), or only their paths, so that they have to stay there",
    )
    parser.add_argument(
        "--num-proc",
        type=int,
        metavar="N",
        help="processes that read, check and write images (default: one for each processor, at most 8)",
    )
    arguments = parser.parse_args()

    # Imported late, so that --help and a mistyped option answer at once.
    from patchnet_hf.data.conversion import REJECTED_FILE, SUMMARY_FILE, convert_csv

    summary = convert_csv(
        arguments.csv,
        arguments.output,
        on_error=arguments.on_error,
        overwrite=arguments.overwrite,
        embed=arguments.embed,
        num_proc=arguments.num_proc,
    )
    print(summary.table())
    print(f"\npatch types: {', '.join(summary.patch_types)} (live: {', '.join(summary.live_patch_types) or 'none'})")
    for file, names in summary.ignored_columns.items():
        print(f"columns not used in {file}: {', '.join(names)}")
    rejected = sum(split.rejected for split in summary.splits.values())
    if rejected:
        print(f"{rejected} rows were left out: see {arguments.output}/{REJECTED_FILE}")
    print(f"written to {arguments.output} (these counts: {SUMMARY_FILE} in it)")
    print(f"next: accelerate launch --quiet scripts/train.py --dataset {shlex.quote(arguments.output)} …")
    return 0


if __name__ == "__main__":
    run_command(main)
