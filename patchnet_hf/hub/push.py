"""Pushing a model to the Hub in one commit."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from ..cards.card import CARD_FILE, is_ours
from ..errors import InputError
from .hub_errors import hub_errors
from .model_files import outdated_files
from .model_upload import Upload


def push(
    upload: Upload,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload model",
    overwrite_card: bool = False,
) -> CommitInfo:
    """
    Brings a model to the Hub in one commit; makes the repository and the branch where they are missing.

    What an earlier push has left on the branch and this one doesn't bring is removed by the same commit.

    Args:
        upload: from [`patchnet_hf.hub.model_upload.model_upload`].
        private: make a new repository private.
        revision: branch; `None`: `main`.
        token: `None`: that of `hf auth login` or `HF_TOKEN`.
        message: of the commit.
        overwrite_card: replace a card that was edited on the Hub.

    Returns:
        What was committed: `oid`, its hash, and `repo_url`.

    Raises:
        InputError: the Hub can't be reached or refuses, the repository is public though it has to be private, or its
            card was edited there.
    """
    api = HfApi(token=token, library_name="patchnet_hf")
    with hub_errors(upload.repo):
        prepare_repository(api, upload.repo, "model", private, revision)
        check_remote_card(api, upload.repo, "model", revision, overwrite_card, is_ours, upload.card)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in upload.files.items()
        ]
        there = api.list_repo_files(upload.repo, revision=revision)
        operations += [CommitOperationDelete(name) for name in outdated_files(there, upload.files)]
        return api.create_commit(upload.repo, operations, commit_message=message, revision=revision)


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
    api: HfApi,
    repo: str,
    kind: str,
    revision: str | None,
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
        file = api.hf_hub_download(repo, CARD_FILE, repo_type=kind, revision=revision)
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
