"""Shards of a converted dataset: planned from the rows alone, each written and remembered on its own."""

import hashlib
import json
import operator
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import pyarrow as pa

from ..whole_file import whole_file
from .captures import Capture, read_capture
from .csv_files import BadRow, CaptureRow
from .decoding import quiet_opencv
from .schema import LIVE, capture_features

ROWS_PER_SHARD = 10_000
BYTES_PER_SHARD = 250 * 10**6

# As `datasets` writes image datasets itself: few rows in a batch, so that reading one row touches little else.
_ROWS_PER_BATCH = 100
_BYTES_PER_BATCH = 128 * 2**20
# Part of what tells a finished shard again: a shard of another version isn't taken over.
_VERSION = 1
_ROWS_AHEAD = 4
# Of a row: what it says. Where the list stands is no part of the content.
_content = operator.attrgetter(*(column.name for column in fields(CaptureRow) if column.name not in ("file", "line")))


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What one shard is made of."""

    number: int
    split: str
    rows: list[CaptureRow | BadRow]
    files: list[tuple[int, int] | None]
    """Size and time of change of each row's image; `None` where there is none."""


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """What all shards of a conversion have in common."""

    folder: Path
    patch_types: tuple[str, ...]
    embed: bool
    keep_nothing_if_bad: bool
    """Whether a bad row makes all work useless, so that the rest is only looked through for more of them."""
    threads: int = 1


@dataclass
class ShardResult:
    """What became of a shard's rows."""

    number: int
    split: str
    images: int = 0
    live: int = 0
    attacks: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    patch_types: set[str] = field(default_factory=set)
    bad: list[BadRow] = field(default_factory=list)
    digest: str = ""
    """Of the rows and the bytes of their images."""

    def as_json(self) -> dict:
        return asdict(self) | {"patch_types": sorted(self.patch_types)}

    @classmethod
    def from_json(cls, values: dict) -> "ShardResult":
        bad = [BadRow(**row) for row in values["bad"]]
        return cls(**values | {"patch_types": set(values["patch_types"]), "bad": bad})


class Stopped(Exception):
    """A shard was given up because the conversion ends."""


def plan_shards(
    splits: Iterable[tuple[str, Iterable[CaptureRow | BadRow]]], embed: bool, first: int = 0
) -> Iterator[ShardTask]:
    """
    Deals the rows of each split out to shards, in their order; the same rows and files give the same shards.

    A shard ends after [`ROWS_PER_SHARD`] rows, or where the files of an embedding shard come to [`BYTES_PER_SHARD`].
    """
    number = first
    for split, rows in splits:
        task, total = ShardTask(number, split, [], []), 0
        for row in rows:
            state = None if isinstance(row, BadRow) else file_state(row)
            task.rows.append(row)
            task.files.append(state)
            total += state[0] if embed and state is not None else 0
            if len(task.rows) >= ROWS_PER_SHARD or total >= BYTES_PER_SHARD:
                yield task
                number += 1
                task, total = ShardTask(number, split, [], []), 0
        if task.rows:
            yield task
            number += 1


def write_shard(
    task: ShardTask,
    settings: ShardSettings,
    advance: Callable[[int], object] = lambda rows: None,
    stop: Callable[[], bool] = lambda: False,
    found_bad: Callable[[], bool] = lambda: False,
) -> ShardResult:
    """
    Writes a shard as `NUMBER.arrow` and, once that is whole, what became of its rows as `NUMBER.json`.

    A shard that is there already, of the same rows, image files and settings, is taken as it is.

    Args:
        task, settings: what to write, and how.
        advance: told how many rows are done.
        stop: asked now and then whether to give up.
        found_bad: whether a bad row was found in another shard.

    Raises:
        Stopped: `stop` said so.
        OSError: the shard can't be written.
    """
    record = settings.folder / f"{task.number}.json"
    signature = _signature(task, settings)
    finished = _finished(record, signature)
    if finished is not None:
        advance(len(task.rows))
        return finished
    # What it told of isn't there any more from now on.
    record.unlink(missing_ok=True)
    result, digest = ShardResult(task.number, task.split), hashlib.blake2b(digest_size=16)
    attacks, sources = Counter(), Counter()
    writer = _ArrowWriter(shard_file(settings.folder, task.number), settings)
    with quiet_opencv(), writer:
        for outcome in _captures(task.rows, settings.threads):
            if stop():
                raise Stopped
            advance(1)
            if isinstance(outcome, BadRow):
                result.bad.append(outcome)
                if settings.keep_nothing_if_bad:
                    writer.discard()
                continue
            if settings.keep_nothing_if_bad and (result.bad or found_bad()):
                writer.discard()
                continue
            row = outcome.row
            writer.write(outcome)
            digest.update(repr(_content(row)).encode() + outcome.digest)
            result.patch_types.add(row.patch_type)
            result.images += 1
            sources[row.source] += 1
            if row.label == LIVE:
                result.live += 1
            else:
                attacks[row.attack_type] += 1
    result.attacks, result.sources, result.digest = dict(attacks), dict(sources), digest.hexdigest()
    if not writer.discarded:
        content = {"signature": signature, "size": _size_of(settings.folder, result), "result": result.as_json()}
        with whole_file(record) as unfinished:
            unfinished.write_text(json.dumps(content), encoding="utf-8")
    return result


def shard_file(folder: Path, number: int) -> Path:
    """The Arrow file of a shard that has rows."""
    return folder / f"{number}.arrow"


def file_state(row: CaptureRow) -> tuple[int, int] | None:
    """Size in bytes and time of change in nanoseconds of a row's image; `None` where there is none."""
    try:
        state = os.stat(os.path.join(os.path.dirname(row.file), row.image_name))
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def _signature(task: ShardTask, settings: ShardSettings) -> str:
    content = hashlib.blake2b(digest_size=16)
    content.update(repr((_VERSION, settings.patch_types, settings.embed, task.split)).encode())
    for row, state in zip(task.rows, task.files, strict=True):
        content.update(repr((row, state)).encode())
    return content.hexdigest()


def _finished(record: Path, signature: str) -> ShardResult | None:
    """The result that was recorded for a shard, if its Arrow file is there and whole."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if content.get("signature") != signature:
        return None
    result = ShardResult.from_json(content["result"])
    return result if _size_of(record.parent, result) == content["size"] else None


def _size_of(folder: Path, result: ShardResult) -> int | None:
    """Bytes of the Arrow file of a shard; 0 where it has no rows and so no file, `None` where that is missing."""
    if not result.images:
        return 0
    try:
        return shard_file(folder, result.number).stat().st_size
    except FileNotFoundError:
        return None


def _captures(rows: Iterable[CaptureRow | BadRow], threads: int) -> Iterator[Capture | BadRow]:
    """Yields what becomes of every row, in order, while threads read and decode a few rows ahead."""
    if threads == 1:
        for row in rows:
            yield row if isinstance(row, BadRow) else read_capture(row, os.path.dirname(row.file))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    ahead: deque[BadRow | Future] = deque()

    def next_outcome() -> Capture | BadRow:
        outcome = ahead.popleft()
        return outcome.result() if isinstance(outcome, Future) else outcome

    try:
        for row in rows:
            bad = isinstance(row, BadRow)
            ahead.append(row if bad else pool.submit(read_capture, row, os.path.dirname(row.file)))
            if len(ahead) > _ROWS_AHEAD * threads:
                yield next_outcome()
        while ahead:
            yield next_outcome()
    finally:
        pool.shutdown(cancel_futures=True)


class _ArrowWriter:
    """Writes captures as the Arrow stream that `Dataset.save_to_disk` writes; the file appears when it is whole.

    Not by `Dataset.from_generator`, which would put a copy of every image into the Hugging Face cache first, and find
    stale ones there, and whose `Image` would look up image names in the current folder.
    """

    def __init__(self, path: Path, settings: ShardSettings):
        self._path, self._embed = path, settings.embed
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        self._schema = arrow_schema(settings.patch_types)
        self._type_ids = {name: index for index, name in enumerate(settings.patch_types)}
        self._columns: dict[str, list] = {name: [] for name in self._schema.names}
        self._batch_bytes = 0
        self._file = self._stream = None
        self.discarded = False

    def discard(self) -> None:
        """What is written is of no use any more: no file is to appear."""
        self.discarded = True

    def __enter__(self) -> "_ArrowWriter":
        return self

    def __exit__(self, exception_type, *_):
        try:
            if exception_type is None:
                self._flush()
            if self._stream is None:
                return
            self._stream.close()
            if exception_type is None and not self.discarded:
                self._file.flush()
                os.fsync(self._file.fileno())
                os.replace(self._unfinished, self._path)
        finally:
            if self._file is not None:
                self._file.close()
                self._unfinished.unlink(missing_ok=True)

    def write(self, capture: Capture) -> None:
        row = capture.row
        image = {"bytes": capture.data, "path": row.image_name}
        values = {
            "image": image if self._embed else {"bytes": None, "path": os.path.abspath(capture.path)},
            "label": row.label,
            "patch_type": self._type_ids[row.patch_type],
            "attack_type": row.attack_type,
            "source": row.source,
            "subject": row.subject,
            "session": row.session,
            "video": row.video,
            "device": row.device,
            "face_box": None if row.face_box is None else list(row.face_box),
        }
        for name, column in self._columns.items():
            column.append(values[name])
        self._batch_bytes += len(capture.data) if self._embed else 0
        if len(self._columns["label"]) >= _ROWS_PER_BATCH or self._batch_bytes >= _BYTES_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._columns["label"]:
            return
        if self._stream is None:
            self._file = self._unfinished.open("wb")
            self._stream = pa.ipc.new_stream(self._file, self._schema)
        self._stream.write_batch(pa.RecordBatch.from_pydict(self._columns, schema=self._schema))
        self._columns = {name: [] for name in self._schema.names}
        self._batch_bytes = 0


def arrow_schema(patch_types: Iterable[str]) -> pa.Schema:
    """The schema of [`~patchnet_hf.data.schema.capture_features`] as `datasets` writes it into its files."""
    return capture_features(tuple(patch_types)).arrow_schema
