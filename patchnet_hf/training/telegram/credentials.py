"""The Telegram bot and chats that a run reports to, from the environment or `.env`; the token shows nowhere."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values

from ...errors import InputError

TOKEN_VARIABLE = "TELEGRAM_TOKEN"
CHATS_VARIABLE = "TELEGRAM_CHAT_ID"
URL_VARIABLE = "TELEGRAM_API_URL"
OFFICIAL_API_URL = "https://api.telegram.org"
SCRUBBED = f"[{TOKEN_VARIABLE}]"

_TOKEN = re.compile(r"[0-9]{3,}:[A-Za-z0-9_-]{20,}")
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_NAME = re.compile(r"@[A-Za-z][A-Za-z0-9_]{3,}")


@dataclass(frozen=True)
class TelegramCredentials:
    """
    Who sends, to whom, through which server.

    Args:
        token: of the bot, as BotFather gives it; not part of the `repr`.
        chats: ids of chats, or `@names` of channels.
        api_url: address of a Bot API server, without `/bot`.
    """

    token: str = field(repr=False)
    chats: tuple[int | str, ...]
    api_url: str = OFFICIAL_API_URL

    def scrubbed(self, text: str) -> str:
        """`text` without the token, as it is or as a URL writes it, and without its secret part alone.

        >>> TelegramCredentials("12345:SECRET_SECRET_SECRET", (1,)).scrubbed("at /bot12345:SECRET_SECRET_SECRET/getMe")
        'at /bot[TELEGRAM_TOKEN]/getMe'
        """
        secret = self.token.partition(":")[2]
        for shape in (self.token, quote(self.token, safe=""), secret):
            text = text.replace(shape, SCRUBBED) if shape else text
        return text


def read_credentials(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> TelegramCredentials:
    """
    `TELEGRAM_TOKEN`, `TELEGRAM_CHAT_ID` and, where it is given, `TELEGRAM_API_URL`.

    The environment wins over the file `.env`, whose variables stay out of the environment and so of child processes.

    Args:
        folder: where `.env` may lie; by default the working directory.
        environment: by default that of this process.

    Raises:
        InputError: a variable is missing or malformed. The message names it and never shows what it holds: people
            paste tokens into the wrong line.
    """
    environment = os.environ if environment is None else environment
    values = {**_read_dotenv((folder or Path.cwd()) / ".env"), **environment}
    values = {name: (values.get(name) or "").strip() for name in (TOKEN_VARIABLE, CHATS_VARIABLE, URL_VARIABLE)}
    for name in (TOKEN_VARIABLE, CHATS_VARIABLE):
        if not values[name]:
            raise InputError(
                f"--telegram needs {name}, in the environment or in the file .env (.env.template in the repository "
                "shows how); docs/telegram.md says where to get it"
            )
    if not _TOKEN.fullmatch(values[TOKEN_VARIABLE]):
        raise InputError(f"{TOKEN_VARIABLE} is no bot token; expected NUMBER:LETTERS, as BotFather gives it")
    return TelegramCredentials(
        values[TOKEN_VARIABLE], _chats(values[CHATS_VARIABLE]), _api_url(values[URL_VARIABLE] or OFFICIAL_API_URL)
    )


def _read_dotenv(path: Path) -> dict[str, str | None]:
    try:
        return dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        # The text of a decoding error shows bytes of the file.
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
    raise InputError(f"{path} can't be read: {reason}")


def _chats(text: str) -> tuple[int | str, ...]:
    chats: dict[int | str, None] = {}
    for number, item in enumerate(text.split(","), start=1):
        item = item.strip()
        if _NUMBER.fullmatch(item):
            chats[int(item)] = None
        elif _NAME.fullmatch(item):
            chats[item] = None
        else:
            raise InputError(
                f"{CHATS_VARIABLE}: item {number} of {text.count(',') + 1} is no chat id; expected numbers or @names "
                "of channels, separated by commas"
            )
    return tuple(chats)


def _api_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        well_formed = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or parts.query or parts.fragment or re.search(r"\s", text):
        raise InputError(f"{URL_VARIABLE} is no address of a server; expected for example http://localhost:8081")
    return text.rstrip("/")
