"""Cards: the README.md of a model or a dataset with its pictures, and which README.md may be replaced by one."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ..errors import InputError
from ..whole_file import whole_file

CARD_FILE = "README.md"
_MARK = re.compile(r"\n*<!-- Card written by patchnet_hf, sha256 ([0-9a-f]{64})\. .*? -->\s*$")
_HEADER = re.compile(r"---\n.*?\n---\n", flags=re.DOTALL)
_MARK_TEXT = (
    "<!-- Card written by patchnet_hf, sha256 {digest}. While nothing above is changed, patchnet_hf keeps it up to "
    "date; once it is, the card is yours and is left alone. -->\n"
)


@dataclass(frozen=True)
class Card:
    """
    A card ready to be written or pushed.

    Attributes:
        text: of README.md, with its metadata in YAML; ends with a mark that tells it from an edited one.
        pictures: name in the repository to the bytes of a PNG file.
    """

    text: str
    pictures: dict[str, bytes] = field(default_factory=dict)


class CardFile(Enum):
    """What a folder's README.md is."""

    ABSENT = "absent"
    OURS = "ours"
    OTHER = "other"


def marked(text: str) -> str:
    """A card's text with the mark at its end, by which [`is_ours`] knows that nobody has edited it."""
    text = text.rstrip() + "\n"
    return f"{text}\n{_MARK_TEXT.format(digest=_digest(text))}"


def is_ours(text: str) -> bool:
    """
    Whether a README.md is one of our cards, as it was written.

    >>> card = marked("# A model")
    >>> is_ours(card), is_ours(card.replace("A model", "My model")), is_ours("# A model")
    (True, False, False)
    """
    text = text.replace("\r\n", "\n")
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def body_marked(text: str) -> str:
    """
    A card whose mark is of what stands below its metadata alone.

    For a dataset: `datasets` writes columns and sizes into the metadata of the card when it pushes.
    """
    header, body = _parted(text)
    return header + marked(_MARK.sub("", body))


def is_our_body(text: str) -> bool:
    """
    Whether what stands below the metadata of a card of [`body_marked`] is as it was written.

    >>> card = body_marked(marked("---\\ntags: [a]\\n---\\n\\n# A dataset"))
    >>> is_our_body(card.replace("[a]", "[a, b]")), is_our_body(card.replace("A dataset", "Mine"))
    (True, False)
    """
    return is_ours(_parted(text.replace("\r\n", "\n"))[1])


def _parted(text: str) -> tuple[str, str]:
    """The metadata of a card, with the lines around them, and what stands below."""
    header = _HEADER.match(text)
    end = header.end() if header else 0
    return text[:end], text[end:]


def card_file(folder: str | Path) -> CardFile:
    """
    What the README.md of a folder is.

    Raises:
        OSError: it can't be read.
    """
    try:
        text = (Path(folder) / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return CardFile.ABSENT
    except UnicodeDecodeError:
        return CardFile.OTHER
    return CardFile.OURS if is_ours(text) else CardFile.OTHER


def write_card(card: Card, folder: str | Path, overwrite: bool = False) -> bool:
    """
    Writes a card and its pictures into a folder, unless a README.md is there that isn't one of ours as it was written.

    Args:
        card: to write.
        folder: of the model or dataset.
        overwrite: replace any other README.md, too.

    Returns:
        Whether it was written.

    Raises:
        InputError: a file can't be written.
    """
    folder = Path(folder)
    try:
        if not overwrite and card_file(folder) is CardFile.OTHER:
            return False
        for name, picture in card.pictures.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished:
                unfinished.write_bytes(picture)
        with whole_file(folder / CARD_FILE) as unfinished:
            unfinished.write_text(card.text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"the card {folder / CARD_FILE} can't be written: {error}") from error
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode("utf-8")).hexdigest()
