"""What of a model goes to the Hub, ready and checked before the Hub is asked for anything."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..cards.card import CARD_FILE, CardFile, card_file
from ..cards.card_metadata import checked_repo
from ..cards.model_card import card_is_current, model_card
from ..errors import InputError
from .file_sizes import files_table
from .leaks import check_leaks
from .model_files import model_files

# In Markdown and in HTML.
PICTURE = re.compile(
    r"""(?:!\[[^\]]*\]\(|<img[^>]*\ssrc=["'])([^)\s"']+\.(?:png|jpe?g|gif|svg|webp))""", re.IGNORECASE
)


@dataclass(frozen=True)
class Upload:
    """
    What goes into a repository, ready and checked.

    Attributes:
        repo: `OWNER/NAME`.
        files: name in the repository to a file or to bytes; with `README.md`, the card.
        card_note: why the card is that of the model's folder and not a new one; empty where it is new.
    """

    repo: str
    files: Mapping[str, Path | bytes]
    card_note: str = ""

    @property
    def card(self) -> str:
        """The text of README.md."""
        return content_of(self.files[CARD_FILE]).decode("utf-8")

    def table(self) -> str:
        """Names and sizes, and their sum, as text."""
        return files_table(
            {
                name: len(content) if isinstance(content, bytes) else content.stat().st_size
                for name, content in self.files.items()
            }
        )


def model_upload(
    folder: str | Path,
    repo: str,
    evaluations: Iterable[str | Path] = (),
    license: str | None = None,
    *,
    overwrite_card: bool = False,
    metadata: Mapping | None = None,
    allowed: Collection[str] = (),
) -> Upload:
    """
    What a push of a model would bring to the Hub; asks nothing of it.

    The card is written anew for the repository, unless the folder's was edited, or tells of more than the folder does
    (evaluations, a licence) and nothing is given here to write it from.

    Args:
        folder: of the model.
        repo: `OWNER/NAME`.
        evaluations: folders written by `scripts/evaluate.py` with this model, for its card.
        license: of the weights, for its card.
        overwrite_card: write the card anew in any case.
        metadata: further entries of the card's YAML.
        allowed: findings of the check for leaks that are none.

    Raises:
        InputError: the folder holds no model, an argument can't be used, or a file holds what must not be published.
    """
    checked_repo(repo)
    evaluations = list(evaluations)
    files = model_files(folder)
    card = model_card(folder, evaluations, repo, license, metadata=metadata)
    note = "" if overwrite_card else card_note(folder, bool(evaluations or license))
    if note:
        files[CARD_FILE] = Path(folder) / CARD_FILE
        files.update(shown_pictures(Path(folder)))
    else:
        files[CARD_FILE] = card.text.encode("utf-8")
    for name, picture in card.pictures.items():
        # The file of the folder, where there is one, is what the card was written with.
        files.setdefault(name, picture)
    check_leaks(files, allowed)
    return Upload(repo, files, note)


def card_note(folder: str | Path, given: bool) -> str:
    """
    Why the README.md of a model's folder goes up as it is, in a line; empty where a new one does.

    Args:
        given: whether there is more to write a new card from than the folder: evaluations or a licence.

    Raises:
        InputError: it was edited, so that what is given has no place.
    """
    file = Path(folder) / CARD_FILE
    found = card_file(folder)
    if found is CardFile.OTHER and given:
        raise InputError(
            f"{file} was edited and goes up as it is, without what --evaluation and --license tell; --overwrite-card "
            "has the card written anew"
        )
    if found is CardFile.OTHER:
        return f"{file} was edited and goes up as it is; --overwrite-card has it written anew"
    if found is CardFile.OURS and not given and not card_is_current(folder):
        return (
            f"{file} tells of more than the folder (evaluations, a licence, earlier settings) and goes up as it is; "
            "--evaluation, --license or --overwrite-card have it written anew"
        )
    return ""


def shown_pictures(folder: Path) -> dict[str, Path]:
    """The pictures in a model's folder that its README.md shows."""
    text = (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    named = [PurePosixPath(name) for name in PICTURE.findall(text)]
    inside = [str(name) for name in named if not name.is_absolute() and ".." not in name.parts]
    return {name: folder / name for name in inside if (folder / name).is_file()}


def content_of(content: Path | bytes) -> bytes:
    """The bytes of a file or the bytes themselves."""
    return content if isinstance(content, bytes) else content.read_bytes()
