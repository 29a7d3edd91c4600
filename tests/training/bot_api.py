"""A double of Telegram's Bot API: a real HTTP server on 127.0.0.1 that checks requests as the real one does."""

import html
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

TOKEN = "123456789:AAE-no_bot_has_this_token_0123456789"


@dataclass(frozen=True)
class Request:
    """One request: method of the API, its fields, the photo's bytes, and when it came (`time.monotonic`)."""

    method: str
    fields: dict[str, str]
    photo: bytes | None
    time: float

    @property
    def chat(self) -> str:
        return self.fields["chat_id"]

    @property
    def html(self) -> str:
        return self.fields.get("text", "")

    @property
    def text(self) -> str:
        """As a person sees it."""
        return shown_text(self.html)


def shown_text(markup: str) -> str:
    """Text of a message in Telegram's HTML.

    Raises:
        ValueError: a tag is unknown, not closed, or crosses another one; a `<` or `&` is not escaped.
    """
    pieces, opened = [], []
    for piece in re.split(r"(</?[a-z]+>)", markup):
        tag = re.fullmatch(r"<(/?)(b|pre)>", piece)
        if tag is None:
            if "<" in piece or re.search(r"&(?!(lt|gt|amp|quot);)", piece):
                raise ValueError(f"can't parse entities in {piece!r}")
            pieces.append(html.unescape(piece))
        elif not tag[1]:
            opened.append(tag[2])
        elif not opened or opened.pop() != tag[2]:
            raise ValueError(f"can't parse entities: unexpected {piece}")
    if opened:
        raise ValueError(f"can't parse entities: {opened} not closed")
    return "".join(pieces)


class BotApi:
    """
    The server. It knows one token and some chats; `delivered` holds what people would see.

    Attributes:
        requests: all that came with the right token, answered or not.
        delivered: messages and photos that were accepted.
        failures: answers `(status, body)` that the next messages get instead of being accepted.
        refusing: chats that have blocked the bot.
        open: while cleared, messages are held and not answered.
    """

    def __init__(self, chats=("1",)):
        self.chats = set(chats)
        self.requests: list[Request] = []
        self.delivered: list[Request] = []
        self.failures: list[tuple[int, object]] = []
        self.refusing: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._unanswered = 0
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens, on the port of the first start."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                api._connections.add(self.connection)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with api._answering():
                    status, answer = api._answer(self.path, self.headers["Content-Type"] or "", body)
                    data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                # A client that has gone.
                pass

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Is gone: connections are cut, new ones refused. What came is answered first, so nothing may be held."""
        self._server.shutdown()
        self._server.server_close()
        # Without its answer, who sent it would rightly send it again.
        self.wait_for(lambda: self._unanswered == 0)
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # Closed by the other side.
                continue
        self._connections.clear()

    def wait_for(self, condition, seconds: float = 60) -> None:
        """Returns once `condition()` holds; only a test that fails waits to the end."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "the server never came to be as the test expects"

    def texts(self, chat: str = "1") -> list[str]:
        """Messages of a chat, as a person sees them."""
        return [message.text for message in self.delivered if message.chat == chat and message.method == "sendMessage"]

    @contextmanager
    def _answering(self):
        """A request is being answered meanwhile."""
        with self.changed:
            self._unanswered += 1
        try:
            yield
        finally:
            with self.changed:
                self._unanswered -= 1
                self.changed.notify_all()

    def _answer(self, path: str, content_type: str, body: bytes) -> tuple[int, object]:
        match = re.fullmatch(r"/bot([^/]+)/(\w+)", path)
        if match is None:
            return 404, _error(404, "Not Found")
        if match[1] != TOKEN:
            return 401, _error(401, "Unauthorized")
        fields, photo = _fields(content_type, body)
        request = Request(match[2], fields, photo, time.monotonic())
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        if request.method == "getMe":
            return 200, _result({"id": 123456789, "is_bot": True, "first_name": "bot", "username": "a_bot"})
        if request.chat not in self.chats:
            return 400, _error(400, "Bad Request: chat not found")
        if request.chat in self.refusing:
            return 403, _error(403, "Forbidden: bot was blocked by the user")
        if request.method == "sendChatAction":
            return 200, _result(True)
        self.open.wait()
        with self.changed:
            if self.failures:
                return self.failures.pop(0)
        if request.method == "sendMessage":
            try:
                text = request.text
            except ValueError as error:
                return 400, _error(400, f"Bad Request: {error}")
            if not text.strip():
                return 400, _error(400, "Bad Request: message text is empty")
            if len(text.encode("utf-16-le")) // 2 > 4096:
                return 400, _error(400, "Bad Request: message is too long")
        with self.changed:
            self.delivered.append(request)
            self.changed.notify_all()
        chat = {"id": 1, "type": "private"}
        return 200, _result({"message_id": len(self.delivered), "date": int(time.time()), "chat": chat})


def _fields(content_type: str, body: bytes) -> tuple[dict[str, str], bytes | None]:
    if not content_type.startswith("multipart/"):
        return {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}, None
    parsed = BytesParser(EmailMessage, policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    fields, photo = {}, None
    for part in parsed.iter_parts():
        content = part.get_payload(decode=True)
        if part.get_filename():
            photo = content
        else:
            fields[part.get_param("name", header="content-disposition")] = content.decode()
    return fields, photo


def _result(value) -> dict:
    return {"ok": True, "result": value}


def _error(code: int, description: str, **parameters) -> dict:
    return {"ok": False, "error_code": code, "description": description, "parameters": parameters}


def too_many_requests(seconds: int) -> tuple[int, dict]:
    """The answer that asks for a pause."""
    return 429, _error(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
