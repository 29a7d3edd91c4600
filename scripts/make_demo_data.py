"""Writes simulated captures of live faces and of attacks as CSV folders: data to train on with no download.

Three folders appear under --output, each with a markup.csv and images/:
  train       two devices; live faces, three kinds of print, replays on three screens
  val_seen    the same devices and media, other faces
  val_unseen  a device and a screen that the training data never saw, other faces

The same --seed gives the same files, byte for byte, however many --workers render them.
"""

import time

from tqdm import tqdm

from patchnet_hf.command_line import CommandParser, run_command
from patchnet_hf.data.simulation import summary_table, write_demo_dataset
from patchnet_hf.errors import InputError


def main() -> None:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to create")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other faces and captures (default 0)")
    parser.add_argument("--train", type=int, default=600, metavar="N", help="training images (default 600)")
    parser.add_argument(
        "--val", type=int, default=160, metavar="N", help="images in each validation split (default 160)"
    )
    parser.add_argument("--size", type=int, default=256, metavar="PIXELS", help="side of the images (default 256)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--overwrite", action="store_true", help="replace an --output that holds something")
    arguments = parser.parse_args()
    for name, least in (("seed", 0), ("train", 4), ("val", 4), ("size", 64), ("workers", 1)):
        if getattr(arguments, name) < least:
            raise InputError(f"--{name} is {getattr(arguments, name)}; expected {least} or more")

    counts = {"train": arguments.train, "val_seen": arguments.val, "val_unseen": arguments.val}
    start = time.perf_counter()
    with tqdm(total=sum(counts.values()), unit="image", desc="simulating", delay=0.5) as progress:
        splits = write_demo_dataset(
            arguments.output,
            counts,
            size=arguments.size,
            seed=arguments.seed,
            workers=arguments.workers,
            overwrite=arguments.overwrite,
            advance=progress.update,
        )
    seconds = time.perf_counter() - start
    print(summary_table(splits))
    print(f"\n{sum(counts.values())} images in {seconds:.1f} s: {arguments.output}")
    folders = " ".join(f"{arguments.output}/{split}" for split in splits)
    print(f"next: python scripts/convert_dataset.py --csv {folders} --output {arguments.output}-arrow")


if __name__ == "__main__":
    run_command(main)
