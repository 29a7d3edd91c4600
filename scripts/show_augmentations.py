"""Draws a sheet with each image and the views that an augmentation makes of it."""

from pathlib import Path

from patchnet_hf.command_line import CommandParser, run_command
from patchnet_hf.errors import InputError

EXAMPLES = """examples:
  python scripts/show_augmentations.py face.jpg --augmentation configs/augmentation/medium2.json --output sheet.png
  python scripts/show_augmentations.py a.jpg b.jpg --augmentation configs/augmentation/paper.json --patch-size 112 \\
      --output sheet.png
  python scripts/show_augmentations.py photo.jpg --face-box 249 12 194 194 \\
      --augmentation configs/augmentation/strong3.json --views 20 --output sheet.png
"""


def main() -> None:
    parser = CommandParser(prog="show_augmentations.py", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, each a face crop")
    parser.add_argument("--augmentation", required=True, metavar="FILE", help="JSON file, as for scripts/train.py")
    parser.add_argument("--output", required=True, metavar="FILE", help="the sheet: .png, .pdf or .svg")
    parser.add_argument("--views", type=int, default=12, help="views of each image (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of the views (default: 0)")
    parser.add_argument(
        "--patch-size", "--patch_size", type=int, default=224, help="side of the views in pixels (default: 224)"
    )
    parser.add_argument(
        "--face-box", type=int, nargs=4, metavar=("X", "Y", "W", "H"), help="the face in pixels, in all images"
    )
    parser.add_argument(
        "--face-expand", type=float, default=1.3, help="factor on the sides of the box (default: 1.3, as in training)"
    )
    arguments = parser.parse_args()
    for name, smallest in (("views", 1), ("seed", 0), ("patch_size", 1)):
        if getattr(arguments, name) < smallest:
            parser.error(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; expected at least {smallest}")
    if arguments.face_expand <= 0:
        parser.error(f"--face-expand is {arguments.face_expand:g}; expected a positive factor")

    # Imported only now, so that --help and a wrong option answer at once.
    from patchnet_hf.data.augmentation import Augmentation
    from patchnet_hf.data.augmentation_sheet import draw_augmentation_sheet, read_faces

    if Path(arguments.output).resolve() in (Path(image).resolve() for image in arguments.images):
        raise InputError(f"{arguments.output} is one of the images; name another file for the sheet")
    augmentation = Augmentation.read(arguments.augmentation, arguments.patch_size)
    faces = read_faces(arguments.images, arguments.face_box, arguments.face_expand)
    draw_augmentation_sheet(faces, augmentation, arguments.output, arguments.views, arguments.seed)
    print(
        f"{arguments.output}: {arguments.views} views of {arguments.patch_size} x {arguments.patch_size} pixels each"
    )


if __name__ == "__main__":
    run_command(main)
