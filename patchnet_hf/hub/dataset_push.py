"""Pushing a converted dataset to the Hub as Parquet, with its card."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

import datasets
from huggingface_hub import CommitInfo, DatasetCard, DatasetCardData, HfApi

from ..cards.card import CARD_FILE, body_marked, is_our_body
from ..cards.card_metadata import checked_repo
from ..cards.dataset_card import dataset_card
from ..cards.names import folder_name
from ..data.sources import load_converted
from ..text_table import text_table
from .file_sizes import size_text
from .hub_errors import hub_errors
from .leaks import check_leaks
from .push import check_remote_card, prepare_repository

IMAGE = "image"
BATCH = 256


@dataclass(frozen=True)
class DatasetUpload:
    """
    A dataset that is ready to be pushed.

    Attributes:
        repo: `OWNER/NAME`.
        splits: what goes up.
        card: the text of README.md, before `datasets` adds columns and sizes to its metadata.
        sizes: of the images of each split, in bytes.
    """

    repo: str
    splits: datasets.DatasetDict
    card: str
    sizes: dict[str, int]

    def table(self) -> str:
        """Splits with their numbers of captures and the sizes of their images, as text."""
        rows = [(name, str(len(self.splits[name])), size_text(size)) for name, size in self.sizes.items()]
        total = ("total", str(sum(map(len, self.splits.values()))), size_text(sum(self.sizes.values())))
        return text_table(("split", "captures", "images"), [*rows, total])


def dataset_upload(
    folder: str, repo: str, license: str | None = None, *, allowed: Collection[str] = ()
) -> DatasetUpload:
    """
    What a push of a dataset would bring to the Hub; asks nothing of it.

    Args:
        folder: written by `scripts/convert_dataset.py`.
        repo: `OWNER/NAME`.
        license: for its card.
        allowed: findings of the check for leaks that are none.

    Raises:
        InputError: the folder holds no dataset, an argument can't be used, or a column or the card holds what must not
            be published.
    """
    checked_repo(repo)
    splits = load_converted(folder)
    card = dataset_card(splits, repo, license, name=folder_name(folder))
    texts = {CARD_FILE: card.text.encode("utf-8")}
    sizes = dict.fromkeys(splits, 0)
    for name, part in splits.items():
        found = {column: set() for column in part.features}
        # In Arrow no image is decoded, in whatever column it is.
        for batch in part.with_format("arrow").iter(BATCH):
            for column in found:
                found[column].update(strings_in(batch[column].to_pylist()))
            sizes[name] += sum(len(image["bytes"] or b"") for image in batch[IMAGE].to_pylist())
        texts[f"the schema of split {name}"] = as_text(strings_in(part.features.to_dict()))
        texts |= {f"column {column} of split {name}": as_text(values) for column, values in found.items()}
    check_leaks(texts, allowed)
    return DatasetUpload(repo, splits, body_marked(card.text), sizes)


def push_dataset(
    upload: DatasetUpload,
    *,
    private: bool = False,
    revision: str | None = None,
    overwrite_card: bool = False,
) -> CommitInfo:
    """
    Brings a dataset to the Hub: the card, then by `datasets` the captures as Parquet, which replace those there.

    Args:
        upload: from [`dataset_upload`].
        private: make a new repository private.
        revision: branch; `None`: `main`.
        overwrite_card: replace a card that was edited on the Hub.

    Returns:
        The last commit: `oid`, its hash, and `repo_url`.

    Raises:
        InputError: the Hub can't be reached or refuses, the repository is public though it has to be private, or its
            card was edited there.
    """
    api = HfApi(library_name="patchnet_hf")
    place = {"repo_type": "dataset", "revision": revision}
    with hub_errors(upload.repo):
        prepare_repository(api, upload.repo, "dataset", private, revision)
        there = check_remote_card(api, upload.repo, "dataset", revision, overwrite_card, is_our_body, upload.card)
        card = upload.card if there is None else with_metadata_of(there, upload.card)
        api.upload_file(
            path_or_fileobj=card.encode("utf-8"),
            path_in_repo=CARD_FILE,
            repo_id=upload.repo,
            commit_message="Upload dataset card",
            **place,
        )
        return upload.splits.push_to_hub(
            upload.repo, revision=revision, commit_message="Upload dataset", embed_external_files=True
        )


def strings_in(value) -> Iterator[str]:
    """
    All texts in a value of a column, or in its features, at whatever depth.

    >>> list(strings_in([{"note": ["mine", 1]}, {"bytes": b"...", "path": "/data/0.png"}]))
    ['note', 'mine', '0.png']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and set(value) == {"bytes", "path"}:
        # All that `datasets` keeps of the path of an image.
        yield PurePath(value["path"] or "").name
    elif isinstance(value, Mapping):
        yield from value
        for part in value.values():
            yield from strings_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings_in(part)


def as_text(values: Iterable[str]) -> bytes:
    """All different values, a line each."""
    return "\n".join(sorted(set(values))).encode("utf-8")


def with_metadata_of(there: str, card: str) -> str:
    """A new card with what the metadata of the one there say beyond it, such as a licence that was stated there."""
    held, new = DatasetCard(there, ignore_metadata_errors=True), DatasetCard(card)
    new.data = DatasetCardData(**{**held.data.to_dict(), **new.data.to_dict()})
    return str(new)
