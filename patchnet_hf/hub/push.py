"""Pushing a model to the Hub: what goes up, and how it gets there in one commit."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from ..errors import InputError
from ..text_table import text_table
from .card import CARD_FILE, CardFile, card_file, is_ours
from .card_metadata import checked_repo
from .hub_errors import hub_errors
from .leaks import check_leaks
from .model_card import model_card
from .model_files import model_files


@dataclass(frozen=True)
class Upload:
    """
    What goes into a repository, ready and checked.

    Attributes:
        repo: `OWNER/NAME`.
        files: name in the repository to a file or to bytes; with `README.md`, the card.
        own_card: the card is the user's own, from the model's folder.
    """

    repo: str
    files: Mapping[str, Path | bytes]
    own_card: bool = False

    @property
    def card(self) -> str:
        """The text of README.md."""
        return content_of(self.files[CARD_FILE]).decode("utf-8")

    def table(self) -> str:
        """Names and sizes, and their sum, as text."""
        return files_table({name: len(content_of(content)) for name, content in self.files.items()})


@dataclass(frozen=True)
class Pushed:
    """Where it is now: the page of the repository, and the hash of the commit."""

    url: str
    commit: str


def model_upload(
    folder: str | Path,
    repo: str,
    evaluations: Iterable[str | Path] = (),
    license: str | None = None,
    *,
    overwrite_card: bool = False,
    allowed: Collection[str] = (),
) -> Upload:
    """
    What a push of a model would bring to the Hub; asks nothing of it.

    Args:
        folder: of the model.
        repo: `OWNER/NAME`.
        evaluations: folders written by `scripts/evaluate.py` with this model, for its card.
        license: of the weights, for its card.
        overwrite_card: write the card anew where the folder's README.md was edited.
        allowed: findings of the check for leaks that are none.

    Raises:
        InputError: the folder holds no model, an argument can't be used, or a file holds what must not be published.
    """
    checked_repo(repo)
    evaluations = list(evaluations)
    files = model_files(folder)
    card = model_card(folder, evaluations, repo, license)
    own = card_file(folder) is CardFile.OTHER and not overwrite_card
    if own and (evaluations or license):
        raise InputError(
            f"{Path(folder) / CARD_FILE} was edited and goes up as it is, without what --evaluation and --license "
            "tell; --overwrite-card has the card written anew"
        )
    files[CARD_FILE] = Path(folder) / CARD_FILE if own else card.text.encode("utf-8")
    # The files of the folder, where there are, are those that the card was written with.
    files = {**card.pictures, **files}
    check_leaks(files, allowed)
    return Upload(repo, files, own)


def push(
    upload: Upload,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload model",
    overwrite_card: bool = False,
) -> Pushed:
    """
    Brings a model to the Hub in one commit; makes the repository and the branch where they are missing.

    Args:
        upload: from [`model_upload`].
        private: make a new repository private.
        revision: branch; `None`: `main`.
        token: `None`: that of `hf auth login` or `HF_TOKEN`.
        message: of the commit.
        overwrite_card: replace a card that was edited on the Hub.

    Raises:
        InputError: the Hub can't be reached or refuses, the repository is public though it has to be private, or its
            card was edited there.
    """
    api = HfApi(token=token, library_name="patchnet_hf")
    with hub_errors(upload.repo):
        prepare_repository(api, upload.repo, "model", private, revision)
        check_remote_card(upload.repo, "model", revision, token, overwrite_card, is_ours, upload.card)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in upload.files.items()
        ]
        done = api.create_commit(upload.repo, operations, commit_message=message, revision=revision)
    return Pushed(f"{api.endpoint}/{upload.repo}", done.oid)


def prepare_repository(api: HfApi, repo: str, kind: str, private: bool, revision: str | None) -> None:
    """
    Makes a repository and a branch of it, where they are missing.

    Args:
        kind: `"model"` or `"dataset"`.

    Raises:
        InputError: it is public, and was to be private.
    """
    api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
    if private and not api.repo_info(repo, repo_type=kind).private:
        raise InputError(f"{repo} is on the Hub already and is public; make it private in its settings first")
    if revision is not None:
        api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)


def check_remote_card(
    repo: str,
    kind: str,
    revision: str | None,
    token: str | None,
    overwrite: bool,
    as_written: Callable[[str], bool],
    new: str,
) -> str | None:
    """
    Makes sure that a card that somebody edited on the Hub isn't lost.

    Args:
        as_written: tells of a card whether it is one of ours that nobody has edited.
        new: the card that is to replace it.

    Returns:
        The text of the card there; `None` where there is none.

    Raises:
        InputError: it was edited, is another than `new`, and isn't to be overwritten.
    """
    try:
        file = hf_hub_download(repo, CARD_FILE, repo_type=kind, revision=revision, token=token)
    except LocalEntryNotFoundError:
        raise  # The Hub couldn't be asked.
    except EntryNotFoundError:
        return None
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    if not overwrite and text != new and not as_written(text):
        raise InputError(
            f"the {CARD_FILE} of {repo} was edited on the Hub; --overwrite-card replaces it (to keep it, copy it to "
            "the model's folder)"
        )
    return text


def files_table(sizes: Mapping[str, int]) -> str:
    """
    Files with their sizes and the sum of these.

    >>> print(files_table({"config.json": 1200, "model.safetensors": 45_000_000}))
    file                   size
    -----------------  --------
    config.json          1.2 kB
    model.safetensors   45.0 MB
    2 files             45.0 MB
    """
    rows = [(name, size_text(size)) for name, size in sizes.items()]
    count = f"{len(sizes)} file{'' if len(sizes) == 1 else 's'}"
    return text_table(("file", "size"), [*rows, (count, size_text(sum(sizes.values())))])


def size_text(size: int) -> str:
    """
    >>> size_text(12), size_text(3456), size_text(7_800_000_000)
    ('12 B', '3.5 kB', '7.8 GB')
    """
    number, units = float(size), ["B", "kB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "B" else f"{number:.1f} {units[0]}"


def content_of(content: Path | bytes) -> bytes:
    """The bytes of a file or the bytes themselves."""
    return content if isinstance(content, bytes) else content.read_bytes()
