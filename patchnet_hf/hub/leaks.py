"""What must not be published with a model or a dataset: paths of this machine, tokens, names of its user and host."""

import getpass
import io
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image

from .. import cards
from ..errors import InputError

TEXT_SUFFIXES = {".csv", ".json", ".jsonl", ".md", ".py", ".txt", ".yaml", ".yml", ""}
CODE_SUFFIX = ".py"
SAFETENSORS_SUFFIX = ".safetensors"

TOKENS = {
    "a Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b",
    "a Telegram bot token": r"\b\d{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})\b",
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a secret key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"']+:[^\s/:@\"']+@",
}
# Two parts at least, and not the end of something else: of a URL, a relative path, a closing tag.
PATH = re.compile(r"(?<![\w./<~\\\]})*-])/(?:[\w.@+~-]+/)+[\w.@+~-]*")
WINDOWS_PATH = re.compile(r"\b[A-Za-z]:\\{1,2}(?:[\w.@+~ -]+\\{1,2})+[\w.@+~-]*")
FILE_URL = re.compile(r"\bfile:/+[\w.@+~/-]+")
# The same in bytes that aren't text, where names of nodes look like paths: below the homes of users alone.
BINARY_PATH = re.compile(rb"(?:/home/|/Users/|/root/|[A-Za-z]:\\\\?Users\\\\?)[\w.@+~-]+")
# Places that are the same on every machine, and paths that stand for any.
HARMLESS = re.compile(r"/(?:dev|usr|bin|etc|proc|sys|path/to)(?:/|$)")
# Within the Hub, as the target of a link in Markdown: elsewhere they are folders where people keep data.
HUB_LINK = re.compile(r"\]\(/(?:datasets|docs|models|papers|spaces)/")
# Names that many users and hosts have, so that they tell nothing.
COMMON_NAMES = {
    *("admin", "administrator", "app", "build", "builder", "ci", "container", "data", "debian", "demo", "dev"),
    *("docker", "gpu", "guest", "home", "host", "jovyan", "local", "localhost", "main", "nobody", "owner", "pi"),
    *("root", "runner", "server", "test", "ubuntu", "user", "vagrant", "worker", "www-data"),
}
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CHAT_ID", re.IGNORECASE)


def check_leaks(files: Mapping[str, Path | bytes], allowed: Collection[str] = ()) -> None:
    """
    Makes sure that files may be published.

    Args:
        files: name to a file or to bytes.
        allowed: findings that are none, written as they stand in the files.

    Raises:
        InputError: a file holds something that mustn't be; the message names the first file and what it is.
    """
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        finding = next(findings(name, data, allowed), None)
        if finding is not None:
            raise InputError(
                f"{name} holds {finding}, which must not be published; nothing has been pushed. Take it out, or where "
                "it is harmless, let it pass by --allow TEXT"
            )


def findings(name: str, data: bytes, allowed: Collection[str] = ()) -> Iterator[str]:
    """What a file or its name holds that mustn't be published, in words; of a token never the token itself."""
    yield from findings_in_text(name, allowed, own_names())
    suffix = Path(name).suffix.lower()
    if suffix == SAFETENSORS_SUFFIX:
        yield from findings_in_text(safetensors_header(data), allowed, own_names())
    elif suffix in TEXT_SUFFIXES:
        # Names occur in code for other reasons: as those of variables, say.
        names = () if suffix == CODE_SUFFIX else own_names()
        yield from findings_in_text(data.decode("utf-8", errors="replace"), allowed, names)
    else:
        yield from _findings_in_bytes(data, allowed)
        # Among them may be compressed ones.
        yield from findings_in_text(texts_of_png(data), allowed, own_names())


def findings_in_text(text: str, allowed: Collection[str] = (), names: Iterable[str] = ()) -> Iterator[str]:
    """
    What a text holds that mustn't be published, in words.

    Args:
        text: any.
        allowed: findings that are none.
        names: of the user and the host.

    >>> list(findings_in_text("trained on /data/faces/train, see https://host/a/b and print/glossy"))
    ['the path /data/faces/train']
    >>> list(findings_in_text("run by anna on print", names=["anna"]))
    ['the name anna of the user or the host']
    """
    for what, secret in secrets():
        if secret in text:
            yield what
    for what, pattern in TOKENS.items():
        if re.search(pattern, text):
            yield what
    for pattern in (FILE_URL, PATH, WINDOWS_PATH):
        for match in pattern.finditer(text):
            path = match[0].rstrip(".")
            harmless = HARMLESS.match(path) or HUB_LINK.match(text, max(match.start() - 2, 0))
            if not harmless and not any(entry in path for entry in allowed):
                yield f"the path {path}"
    home = str(Path.home())
    if len(home) > 1 and home not in allowed and re.search(rf"(?<![\w./~-]){re.escape(home)}(?![\w-])", text):
        yield f"the path {home}"
    for name in names:
        if name not in allowed and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text):
            yield f"the name {name} of the user or the host"


def _findings_in_bytes(data: bytes, allowed: Collection[str]) -> Iterator[str]:
    for what, secret in secrets():
        if secret.encode() in data:
            yield what
    for what, pattern in TOKENS.items():
        if re.search(pattern.encode(), data):
            yield what
    places = {str(Path.home()), os.getcwd(), sys.prefix, str(Path(__file__).parents[2])}
    paths = [match[0].decode() for match in BINARY_PATH.finditer(data)]
    paths += [place for place in sorted(places) if place.count("/") > 1 and place.encode() in data]
    for path in paths:
        if not any(entry in path for entry in allowed):
            yield f"the path {path}"


def own_names() -> list[str]:
    """Names of the user and of the host, but for those that say nothing about either."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""  # a process without an account
    host = socket.gethostname()
    found = {user, host, host.split(".")[0], Path.home().name}
    common = COMMON_NAMES | card_words()
    return sorted(name for name in found if len(name) > 2 and name.lower() not in common)


def card_words() -> set[str]:
    """The words that cards are made of: a user may be called Will or May."""
    templates = Path(cards.__file__).parent.glob("*.jinja")
    return {word for file in templates for word in re.findall(r"[a-z]+", file.read_text(encoding="utf-8").lower())}


def secrets() -> Iterator[tuple[str, str]]:
    """Values of the environment variables that by their names are secrets: what to call each, and the value."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= 8:
            yield f"the value of {name}", value


def safetensors_header(data: bytes) -> str:
    """The part of a safetensors file that is text: names, shapes and metadata. Empty where there is none."""
    if len(data) < 8:
        return ""
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    try:
        return json.dumps(json.loads(header))
    except ValueError:
        return header.decode("utf-8", errors="replace")


def texts_of_png(data: bytes) -> str:
    """What a PNG file tells besides its picture, a line each. Empty for any other file, and a broken one."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return "\n".join(f"{key}: {value}" for key, value in image.text.items())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
