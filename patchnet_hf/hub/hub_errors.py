"""What goes wrong with the Hub in one line each, which says what to do and holds no token."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import InputError, first_line

LOGIN = "log in by `hf auth login`, or set HF_TOKEN"


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """
    A block that asks something of the Hub.

    Args:
        repo: `OWNER/NAME` that it is about.

    Raises:
        InputError: the Hub can't be reached, refuses, or lacks what was asked for.
    """
    try:
        yield
    except InputError:
        raise
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError, *_errors_of_the_client()) as error:
        # An upload's error comes wrapped.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ is not None else error
        message = _message(cause, repo)
        if message is None:
            raise
        raise InputError(message) from error


def _message(error: BaseException, repo: str) -> str | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hub isn't asked for anything; unset it"
    if isinstance(error, LocalTokenNotFoundError):
        return f"the Hub doesn't know who is asking for {repo}: {LOGIN} to a token"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such revision on the Hub"
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return f"the Hub doesn't know who is asking for {repo}: {LOGIN} to a token that is valid and may write"
    if isinstance(error, RepositoryNotFoundError):
        return f"{repo} isn't on the Hub, or not for you to see: {LOGIN} to a token that may"
    if status == 403:
        return f"the token isn't allowed to write to {repo}: {LOGIN} to one that is, or name a repository of your own"
    if status is not None:
        return f"the Hub answers {status} about {repo}: {first_line(error)[:300]}"
    if isinstance(error, (OSError, *_errors_of_the_client())):
        if getattr(error, "filename", None) is not None:
            return f"{error.filename}: {error.strerror or error}"
        return f"the Hub at {constants.ENDPOINT} can't be reached ({first_line(error)[:300]}); check the network"
    if isinstance(error, ValueError):
        return f"{repo}: {first_line(error)[:300]}"
    return None


def _errors_of_the_client() -> tuple[type[Exception], ...]:
    # huggingface_hub takes requests before its version 1, whose errors are OSErrors, then httpx and from 2 on httpx2.
    return tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)
