"""The card of a dataset of captures, written from what it holds."""

import io
from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import datasets
from PIL import Image

from ..data.schema import check_schema
from ..data.simulated_mark import is_simulated
from ..data.summary import count_captures, subjects_of
from ..data.views import encoded_images, image_bytes, reading_capture
from .card import Card, marked
from .card_metadata import checked_license, checked_repo, dataset_metadata
from .card_tables import TYPE_COLUMNS, sets_table
from .markdown import escaped
from .templates import render

TEMPLATE = "dataset_card.md.jinja"
TAGS = ("face-anti-spoofing", "presentation-attack-detection", "liveness-detection", "patchnet")


def dataset_card(
    dataset: datasets.DatasetDict | datasets.Dataset,
    repo: str | None = None,
    license: str | None = None,
    name: str | None = None,
) -> Card:
    """
    The card of a dataset of the data contract.

    Reads every image once, for its size and for the mark of simulated captures, and decodes none.

    Args:
        dataset: splits, or a single one.
        repo: `OWNER/NAME` that the dataset is or will be at.
        license: identifier of its licence; `None`: none is stated.
        name: of the dataset, where there is no `repo`.

    Returns:
        The text. It shows no capture: faces are personal data.

    Raises:
        InputError: a split lacks columns of the contract, an image can't be read, or `repo` or `license` is none.
    """
    repo, license = checked_repo(repo), checked_license(license)
    splits = dict(dataset) if isinstance(dataset, Mapping) else {"train": dataset}
    check_schema(datasets.DatasetDict(splits), repo or name or "the dataset")
    title = repo.split("/")[1] if repo else name or "Face captures"
    counts = {split: count_captures(part) for split, part in splits.items()}
    files = {split: _files(part, split) for split, part in splits.items()}
    captures = sum(found.captures for found in counts.values())
    simulated = sum(marked for _, marked in files.values())
    sizes = sum((found for found, _ in files.values()), Counter())
    patch_types = next(iter(splits.values())).features["patch_type"].names
    names = ("attack_types", "patch_types", "sources", "devices")
    context = {
        "name": title,
        "where": repo or "OWNER/NAME",
        "license": license,
        "captures": captures,
        "simulated": simulated,
        "splits": list(splits),
        "sets_table": sets_table({split: found.as_json() for split, found in counts.items()}),
        "type_columns": TYPE_COLUMNS,
        **{name: sum((Counter(getattr(found, name)) for found in counts.values()), Counter()) for name in names},
        "face_boxes": sum(found.face_boxes for found in counts.values()),
        "subjects": subjects_text(splits),
        "sizes": sizes_text(sizes),
        "patch_type_names": len(patch_types),
    }
    data = dataset_metadata(title, captures, license, [*TAGS, *(["synthetic"] if simulated == captures else [])])
    return Card(marked(f"---\n{data.to_yaml()}\n---\n\n{render(TEMPLATE, context)}"))


def sizes_text(sizes: Mapping[tuple[int, int], int]) -> str:
    """
    Widths and heights of images in words.

    >>> sizes_text({(640, 480): 3}), sizes_text({(640, 480): 3, (32, 800): 1})
    ('640 x 480 pixels', '32 to 640 pixels wide and 480 to 800 high; most often 640 x 480')
    """
    if not sizes:
        return "unknown"
    (width, height), _ = max(sizes.items(), key=lambda pair: (pair[1], pair[0]))
    if len(sizes) == 1:
        return f"{width} x {height} pixels"
    wide, high = ([size[axis] for size in sizes] for axis in (0, 1))
    return f"{_range(wide)} pixels wide and {_range(high)} high; most often {width} x {height}"


def subjects_text(splits: Mapping[str, datasets.Dataset]) -> str:
    """Which splits show the same persons, in a sentence or more."""
    persons = {name: subjects_of(part) for name, part in splits.items()}
    unnamed = [name for name, part in splits.items() if any(value is None for value in part["subject"][:])]
    sentences = []
    if len(splits) > 1:
        shared = [
            f"{escaped(one)} and {escaped(other)} share {count}"
            for one, other in combinations(persons, 2)
            if (count := len(persons[one] & persons[other]))
        ]
        named = [name for name in persons if persons[name]]
        if shared:
            sentences.append(f"Persons are in more than one split: {', '.join(shared)}.")
        elif len(named) > 1:
            sentences.append("No person is named in more than one split.")
    if unnamed:
        sentences.append(
            f"Not all captures of {', '.join(map(escaped, unnamed))} name their person, so it can't be told whether "
            "they show persons of other splits."
        )
    return " ".join(sentences)


def _files(part: datasets.Dataset, split: str) -> tuple[Counter, int]:
    """Sizes of the images and how many are simulated, from the beginnings of their files."""
    sizes, simulated = Counter(), 0
    for index, row in enumerate(encoded_images(part, ["image"])):
        with reading_capture(row["image"], f"split {split}: capture {index}"):
            data = image_bytes(row["image"])
            with Image.open(io.BytesIO(data)) as image:
                sizes[image.size] += 1
        simulated += is_simulated(data)
    return sizes, simulated


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
