"""Sending to Telegram from a background thread that nobody has to wait for."""

import asyncio
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from telegram import Bot, LinkPreviewOptions
from telegram.constants import ChatAction, ParseMode
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, RetryAfter, TelegramError
from telegram.request import HTTPXRequest

from ...errors import InputError
from .credentials import CHATS_VARIABLE, OFFICIAL_API_URL, TOKEN_VARIABLE, URL_VARIABLE, TelegramCredentials
from .messages import LONGEST_CAPTION, Block, html_parts, reason_of, sendable

logger = logging.getLogger(__name__)

# What the library and its HTTP client log holds the URLs of requests, and so the token.
LIBRARY_LOGGERS = (
    "telegram.Bot",
    "telegram.request.BaseRequest",
    "telegram.request.HTTPXRequest",
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
)

# Between attempts once the run is over and only the flush remains, and how many there are of a server that is away;
# one that answers slowly has all of the flush.
LAST_PAUSE = 1.0
LAST_ATTEMPTS = 10

# Messages that a server which keeps up may have waiting; nothing is sent before them.
SOON_SENT = 2

Chat = int | str
Post = Callable[[Bot, Chat], Awaitable]


@dataclass(frozen=True)
class Patience:
    """
    How long Telegram is waited for, in seconds where nothing else is said.

    Args:
        attempts: for one message and chat, before it is lost.
        first_pause: after the first failed attempt; doubled after each further one.
        longest_pause: that a pause grows to. A pause that the server asks for (429) is always as long as it says.
        answer: for one request.
        check: for the whole check before the run.
        flush: for what is still unsent at the end of the run.
        waiting_messages: kept while the server is away; beyond, the oldest are lost.
    """

    attempts: int = 10
    first_pause: float = 1.0
    longest_pause: float = 60.0
    answer: float = 30.0
    check: float = 10.0
    flush: float = 60.0
    waiting_messages: int = 100


DEFAULT_PATIENCE = Patience()


class _OwnLoop(asyncio.SelectorEventLoop):
    """
    A loop that looks up names in its own thread.

    asyncio would do so in a thread that the interpreter waits for when it exits; a name server that doesn't answer
    would hold up the end of a run for half a minute. The thread of this loop has nothing else to do.
    """

    async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        return socket.getaddrinfo(host, port, family, type, proto, flags)


@contextmanager
def _library_silenced() -> Iterator[None]:
    """
    Drops what the Telegram library logs in this thread, and nothing of any other thread.

    Failures are told by the sender, in one line and without the token.
    """
    here = threading.get_ident()

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != here

    loggers = [logging.getLogger(name) for name in LIBRARY_LOGGERS]
    for each in loggers:
        each.addFilter(elsewhere)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(elsewhere)


def _new_bot(credentials: TelegramCredentials, patience: Patience) -> Bot:
    request = HTTPXRequest(
        connection_pool_size=1,
        connect_timeout=patience.answer,
        read_timeout=patience.answer,
        write_timeout=patience.answer,
        media_write_timeout=patience.answer,
        pool_timeout=patience.answer,
    )
    # A function, because the library reads braces in a string as a place for the token.
    return Bot(
        credentials.token,
        base_url=lambda token: f"{credentials.api_url}/bot{token}",
        request=request,
        get_updates_request=request,
    )


def check_credentials(credentials: TelegramCredentials, patience: Patience = DEFAULT_PATIENCE) -> None:
    """
    Asks the server whether it knows the bot and whether the bot may write in each chat, which shows it as typing.

    A server that can't be asked now may be there later: that is one line of warning.

    Raises:
        InputError: the server refuses the token or a chat; the message names the variable.
    """
    refusals: list[str] = []
    troubles: list[str] = []

    async def ask() -> None:
        bot = _new_bot(credentials, patience)
        async with asyncio.timeout(patience.check):
            try:
                await bot.get_me()
            except InvalidToken:
                where = "" if credentials.api_url == OFFICIAL_API_URL else f", or {URL_VARIABLE} is no Bot API server"
                refusals.append(f"{TOKEN_VARIABLE} is not accepted by the server{where}")
                return
            for chat in credentials.chats:
                try:
                    await bot.send_chat_action(chat, ChatAction.TYPING)
                except (BadRequest, Forbidden) as error:
                    refusals.append(f"{CHATS_VARIABLE}: the bot can't write to {chat}: {error}")
                    return
                except ChatMigrated:
                    # The sender follows it.
                    continue

    def work() -> None:
        try:
            with _library_silenced(), asyncio.Runner(loop_factory=_OwnLoop) as runner:
                runner.run(ask())
        except TimeoutError:
            troubles.append("no answer")
        except Exception as error:
            # Whatever the library makes of a server that is no Bot API server: a run doesn't fail for its reports.
            troubles.append(reason_of(error))

    # A thread, because a loop may run in this one (a notebook), and because it can be left behind.
    thread = threading.Thread(target=work, name="telegram-check", daemon=True)
    thread.start()
    thread.join(patience.check + 1)
    if refusals:
        raise InputError(_one_line(credentials.scrubbed(refusals[0])))
    if troubles or thread.is_alive():
        reason = _one_line(credentials.scrubbed(troubles[0] if troubles else "no answer"))
        logger.warning("Telegram could not be asked whether token and chats are right (%s); training goes on", reason)


class TelegramSender:
    """
    Sends messages in their order to all chats; whoever gives it one goes on at once, whatever the server does.

    One daemon thread sends. It starts with the first message and ends with [`close`], after which the sender takes
    no more. What fails is tried again: after the pause that the server asks for (429), or after growing pauses when
    the server fails or is away. So a message whose answer got lost may arrive twice. What the server refuses, or what
    failed too often, is lost with one line of warning for each reason.

    Args:
        credentials: bot and chats.
        patience: how long to wait for what.
    """

    def __init__(self, credentials: TelegramCredentials, patience: Patience = DEFAULT_PATIENCE):
        self._credentials = credentials
        self._patience = patience
        self._waiting: deque[Post] = deque()
        # How many at the front were to be sent first.
        self._first = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._thread: threading.Thread | None = None
        self._moved: dict[Chat, Chat] = {}
        self._told: set[str] = set()

    def send(self, blocks: Sequence[Block], first: bool = False) -> None:
        """
        Sends a message, as several where it is too long, scrubbed of the token; never blocks, never raises.

        Args:
            blocks: the message.
            first: before what waits already, if that is much because the server is slow or was away.
        """
        scrubbed = [replace(block, text=self._credentials.scrubbed(block.text)) for block in blocks]
        for text in html_parts(scrubbed):
            self._put(lambda bot, chat, text=text: _send_text(bot, chat, text), first)

    def send_photo(self, picture: bytes, name: str, caption: str, first: bool = False) -> None:
        """Sends a picture file's bytes, as [`send`] does a message."""
        # No character is longer than two units.
        caption = sendable(self._credentials.scrubbed(caption))[: LONGEST_CAPTION // 2]
        self._put(lambda bot, chat: bot.send_photo(chat, picture, caption=caption, filename=name), first)

    def close(self) -> None:
        """
        Waits until all is sent, at most `patience.flush` seconds, and ten attempts where the server is away; then
        gives up with one line of warning.
        """
        with self._changed:
            self._closing.set()
            self._changed.notify()
            thread = self._thread
        if thread is None:
            return
        began = time.monotonic()
        thread.join(self._patience.flush)
        if thread.is_alive() or self._given_up.is_set():
            self._given_up.set()
            left, waited = len(self._waiting) + 1, time.monotonic() - began
            logger.warning("Telegram: gave up on %d unsent messages after %.2g s", left, waited)

    def _put(self, post: Post, first: bool) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            if len(self._waiting) >= self._patience.waiting_messages:
                del self._waiting[self._first]
                self._tell("too many messages wait; the oldest are lost")
            if first and len(self._waiting) - self._first > SOON_SENT:
                self._waiting.insert(self._first, post)
                self._first += 1
            else:
                self._waiting.append(post)
            self._changed.notify()
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="telegram", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # No more threads, or the interpreter is about to exit.
                    self._tell(reason_of(error))
                else:
                    self._thread = thread

    def _next(self) -> Post | None:
        with self._changed:
            while not self._waiting and not self._closing.is_set():
                self._changed.wait()
            if not self._waiting or self._given_up.is_set():
                return None
            self._first = max(self._first - 1, 0)
            return self._waiting.popleft()

    def _work(self) -> None:
        try:
            with _library_silenced(), asyncio.Runner(loop_factory=_OwnLoop) as runner:
                bot = _new_bot(self._credentials, self._patience)
                while (post := self._next()) is not None:
                    for chat in self._credentials.chats:
                        self._deliver(runner, bot, post, chat)
                runner.run(bot.request.shutdown())
        except Exception as error:
            # The end of reports, not of the run, and no traceback: it may quote the URL.
            self._tell(f"no more messages: {reason_of(error)}")

    def _deliver(self, runner: asyncio.Runner, bot: Bot, post: Post, chat: Chat) -> None:
        """One message to one chat, tried until it arrived, is refused, failed too often, or is given up."""
        attempt, last_attempts, pause = 0, 0, self._patience.first_pause
        while not self._given_up.is_set():
            attempt += 1
            try:
                runner.run(self._attempt(bot, post, self._moved.get(chat, chat)))
                return
            except ChatMigrated as error:
                self._moved[chat], reason, asked = error.new_chat_id, "the chat has moved", 0.0
            except RetryAfter as error:
                # Seconds in version 22 of the library, a timedelta from the next one on.
                asked = error.retry_after
                asked = asked.total_seconds() if isinstance(asked, timedelta) else float(asked)
                reason = "the server asks for fewer messages"
            except (BadRequest, Forbidden, InvalidToken) as error:
                self._tell(f"chat {chat} refuses a message: {reason_of(error)}")
                return
            except (TelegramError, TimeoutError) as error:
                reason, asked = reason_of(error), None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # An answer that the library can't read. The message is likely to have arrived.
                self._tell(f"the server's answer can't be read: {reason_of(error)}")
                return
            # After the end of the run only its bound counts, not the attempts.
            if attempt >= self._patience.attempts and not self._closing.is_set():
                self._tell(f"a message could not be sent: {reason}")
                return
            if asked is not None:
                self._given_up.wait(asked)
            elif self._closing.is_set():
                last_attempts += 1
                if last_attempts >= LAST_ATTEMPTS:
                    self._given_up.set()
                self._given_up.wait(min(self._patience.first_pause, LAST_PAUSE))
            else:
                # The end of the run cuts the pause short: the server may be back.
                self._closing.wait(pause)
                pause = min(2 * pause, self._patience.longest_pause)

    async def _attempt(self, bot: Bot, post: Post, chat: Chat) -> None:
        # The library's own limits are for each read and write, not for their sum.
        async with asyncio.timeout(2 * self._patience.answer):
            await post(bot, chat)

    def _tell(self, reason: str) -> None:
        """One line of warning for each reason, none once the run has given up on its messages."""
        reason = _one_line(self._credentials.scrubbed(reason))
        if reason not in self._told and not self._given_up.is_set():
            self._told.add(reason)
            logger.warning("Telegram: %s (training goes on)", reason)


def _one_line(text: str, longest: int = 300) -> str:
    """`text` on one line; the library quotes whole pages of servers that are no Bot API servers."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[:longest] + " …"


async def _send_text(bot: Bot, chat: Chat, text: str) -> None:
    no_preview = LinkPreviewOptions(is_disabled=True)
    await bot.send_message(chat, text, parse_mode=ParseMode.HTML, link_preview_options=no_preview)
