"""CSV lists of captures to one Arrow `DatasetDict` on disk, with every file's bytes as they are."""

import csv
import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Literal

import datasets
import pyarrow as pa
from tqdm import tqdm

from ..errors import InputError
from ..text_table import text_table
from ..whole_folder import whole_folder
from .csv_files import BadRow, CaptureRow, CsvFile, CsvLayout, find_csv_files, read_layout, read_rows
from .decoding import decode_image, quiet_opencv, turbojpeg_is_available
from .schema import LABELS, LIVE, capture_features

REJECTED_FILE = "rejected.csv"
SUMMARY_FILE = "conversion.json"
LISTED_BAD_ROWS = 50
"""How many bad rows an error message lists; the others are counted."""

# As `datasets` writes image datasets itself: few rows in a batch, so that reading one row touches little else.
_ROWS_PER_BATCH = 100
_BYTES_PER_BATCH = 128 * 2**20
_BYTES_PER_SHARD = 500 * 10**6
# The files of a saved DatasetDict, as `DatasetDict.load_from_disk` looks for them.
_SPLITS_FILE, _STATE_FILE, _INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"


@dataclass
class SplitSummary:
    """Counts of one split."""

    images: int = 0
    live: int = 0
    attacks: dict[str, int] = field(default_factory=dict)
    """Number of attacks of each PAI species."""
    sources: dict[str, int] = field(default_factory=dict)
    rejected: int = 0


@dataclass
class ConversionSummary:
    """What :func:`convert_csv` wrote."""

    output: str
    splits: dict[str, SplitSummary]
    patch_types: list[str]
    live_patch_types: list[str]
    ignored_columns: dict[str, list[str]]
    """CSV file -> names of its columns that mean nothing here."""

    def table(self) -> str:
        """The counts as text, one line for each split and one for their total."""
        header = ("split", "images", "live", "attacks", "rejected", "attack types", "sources")
        rows = [_table_row(name, split) for name, split in self.splits.items()]
        rows.append(_table_row("total", _total(self.splits.values())))
        return text_table(header, rows, left=(0, 5, 6))


def convert_csv(
    csv_paths: Iterable[str | os.PathLike],
    output: str | os.PathLike,
    *,
    on_error: Literal["stop", "skip"] = "stop",
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> ConversionSummary:
    """Writes the captures that CSV lists name as one `DatasetDict` that `datasets.load_from_disk` opens.

    The dataset has the columns of :func:`~patchnet_hf.data.schema.capture_features`, rows in the order of the lists,
    and the bytes of every file unchanged; `patch_type` has one sorted list of names for all splits. Every image is
    decoded once to see that it can be. Memory stays small however many images there are, and `output` appears only
    when all is written.

    Args:
        csv_paths: `[SPLIT=]PATH` arguments, see :func:`~patchnet_hf.data.csv_files.find_csv_files`. Lists of the same
            split are joined.
        output: the folder to write; must not exist or be empty.
        on_error: what to do about rows that can't be used. "stop" reports all of them and writes nothing; "skip"
            leaves them out and lists them in `rejected.csv` in `output`.
        overwrite: replace `output` when it holds a DatasetDict and nothing else.
        workers: threads that read and decode images (default: one for each processor, at most 8).
        progress: whether to show a progress bar (only where stderr is a terminal).

    Returns:
        The counts, which also stand in `conversion.json` in `output`.

    Raises:
        InputError: when a list or `output` can't be used, a row is bad (with "stop"), a split would have no rows, or a
            patch type occurs with both labels.
    """
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error is {on_error!r}, expected 'stop' or 'skip'")
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}, expected at least 1")
    target = Path(os.path.realpath(output))
    _check_output(target, output, overwrite)
    files = find_csv_files(csv_paths)
    layouts = {file.path: read_layout(file.path) for file in files}
    splits: dict[str, list[CsvFile]] = {}
    for file in files:
        splits.setdefault(file.split, []).append(file)

    row_counts, labels = _survey(files, layouts)
    turbojpeg_is_available()  # looked for once, before many threads ask
    with whole_folder(target) as work, quiet_opencv():
        patch_types = sorted(labels)
        while True:
            features = capture_features(patch_types or LABELS)
            bar = tqdm(
                total=sum(row_counts.values()), desc="Converting", unit="image", disable=None if progress else True
            )
            written: dict[str, SplitSummary] = {}
            used: set[str] = set()
            bad: list[BadRow] = []
            with bar:
                for split, lists in splits.items():
                    outcomes = _captures(lists, layouts, workers or min(os.cpu_count() or 1, 8), bar.update)
                    written[split] = _write_split(work / split, split, features, outcomes, bad, used, on_error)
            if bad and on_error == "stop":
                raise InputError(_bad_rows_message(bad))
            empty = [split for split, summary in written.items() if not summary.images]
            if empty:
                raise InputError(f"no usable row for split {', '.join(empty)}:\n{_listed(bad)}")
            if used == set(patch_types):
                break
            # All rows of some patch type were rejected: without them that class would be in the model for nothing.
            # Class ids change with the list of names, so this rare case starts over.
            patch_types = sorted(used)
            for split in splits:
                shutil.rmtree(work / split)

        summary = ConversionSummary(
            output=str(output),
            splits=written,
            patch_types=patch_types,
            live_patch_types=[name for name in patch_types if labels[name] == LIVE],
            ignored_columns={str(path): list(layout.ignored) for path, layout in layouts.items() if layout.ignored},
        )
        _write_json(work / _SPLITS_FILE, {"splits": list(splits)})
        _write_json(work / SUMMARY_FILE, asdict(summary))
        if bad:
            _write_rejected(work / REJECTED_FILE, bad)
    return summary


@dataclass(frozen=True, slots=True)
class Capture:
    """A usable row together with its file's bytes."""

    row: CaptureRow
    data: bytes
    digest: bytes


def read_capture(row: CaptureRow, folder: str | os.PathLike) -> Capture | BadRow:
    """Reads and decodes the image of `row`, whose name is relative to `folder`, and checks its face box."""
    try:
        path = image_path(row.image_name, folder)
        with open(path, "rb") as file:
            data = file.read()
        height, width = decode_image(data).shape[:2]
        if row.face_box is not None:
            check_face_box(row.face_box, width, height)
    except OSError as error:
        reason = f"image {row.image_name} can't be read: {error.strerror}"
    except ValueError as error:
        reason = f"image {row.image_name}: {error}"
    else:
        return Capture(row, data, hashlib.blake2b(data, digest_size=16).digest())
    return BadRow(row.file, row.line, row.image_name, reason)


def image_path(name: str, folder: str | os.PathLike) -> str:
    """The path of image `name` in `folder`.

    Raises:
        ValueError: with the reason, when there is no such file, or it isn't inside `folder` (an absolute path, `../`,
            or a symbolic link that leads out).
    """
    if "\0" in name:
        raise ValueError("the name contains a NUL character")
    if os.path.isabs(name) or name[1:3] in (":\\", ":/"):
        raise ValueError("an absolute path; expected one relative to the CSV's folder")
    normal = os.path.normpath(name)
    if normal == os.pardir or normal.startswith(os.pardir + os.sep):
        raise ValueError("the path leaves the CSV's folder")
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        hint = "; write / instead of \\" if "\\" in name and os.sep == "/" else ""
        raise ValueError(f"no such file{hint}")
    if os.path.isdir(path):
        raise ValueError("a folder, expected an image file")
    root = os.path.realpath(folder)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise ValueError("a symbolic link leads out of the CSV's folder")
    return path


def check_face_box(box: Sequence[int], width: int, height: int) -> None:
    """Raises `ValueError` unless `box` = `[x, y, w, h]` has an area and lies within a `width` x `height` image."""
    x, y, w, h = box
    if w < 1 or h < 1:
        raise ValueError(f"face box {w} x {h} has no area")
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise ValueError(f"face box x={x} y={y} w={w} h={h} isn't within the image of {width} x {height} pixels")


def _survey(files: Sequence[CsvFile], layouts: dict[Path, CsvLayout]) -> tuple[dict[Path, int], dict[str, int]]:
    """Reads all lists once, without their images: rows of each list, and the label of each patch type."""
    row_counts: dict[Path, int] = Counter()
    first: dict[str, CaptureRow] = {}
    conflicts: dict[str, str] = {}
    for file in files:
        for row in read_rows(file.path, layouts[file.path]):
            row_counts[file.path] += 1
            if isinstance(row, BadRow):
                continue
            other = first.setdefault(row.patch_type, row)
            if other.label != row.label and row.patch_type not in conflicts:
                conflicts[row.patch_type] = (
                    f"  patch type {row.patch_type}: {LABELS[other.label]} at {other.file}:{other.line}, "
                    f"{LABELS[row.label]} at {row.file}:{row.line}"
                )
    if conflicts:
        listed = "\n".join(conflicts.values())
        raise InputError(f"a patch type is either live or an attack; with both labels:\n{listed}")
    return row_counts, {name: row.label for name, row in first.items()}


def _captures(
    files: Sequence[CsvFile], layouts: dict[Path, CsvLayout], workers: int, advance: Callable[[int], object]
) -> Iterator[Capture | BadRow]:
    """Yields what becomes of every row, in order, while `workers` threads read and decode a few rows ahead."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    ahead: deque[BadRow | Future] = deque()

    def next_outcome() -> Capture | BadRow:
        outcome = ahead.popleft()
        advance(1)
        return outcome.result() if isinstance(outcome, Future) else outcome

    try:
        for file in files:
            for row in read_rows(file.path, layouts[file.path]):
                ahead.append(row if isinstance(row, BadRow) else pool.submit(read_capture, row, file.folder))
                if len(ahead) > 4 * workers:
                    yield next_outcome()
        while ahead:
            yield next_outcome()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_split(
    folder: Path,
    split: str,
    features: datasets.Features,
    outcomes: Iterable[Capture | BadRow],
    bad: list[BadRow],
    used_patch_types: set[str],
    on_error: str,
) -> SplitSummary:
    """Writes the usable rows to `folder`; adds the others to `bad`, and the patch types it met to the set."""
    summary = SplitSummary()
    attacks, sources = Counter(), Counter()
    with _SplitWriter(folder, split, features) as writer:
        for outcome in outcomes:
            if isinstance(outcome, BadRow):
                bad.append(outcome)
                summary.rejected += 1
                continue
            if bad and on_error == "stop":
                continue  # nothing will be kept: go on only to find the other bad rows
            row = outcome.row
            if row.patch_type not in features["patch_type"].names:
                raise InputError(f"{row.file}:{row.line}: the file was changed while it was read; start again")
            writer.write(outcome)
            used_patch_types.add(row.patch_type)
            summary.images += 1
            sources[row.source] += 1
            if row.label == LIVE:
                summary.live += 1
            else:
                attacks[row.attack_type] += 1
    summary.attacks, summary.sources = dict(sorted(attacks.items())), dict(sorted(sources.items()))
    return summary


class _SplitWriter:
    """Writes one split in the layout of `Dataset.save_to_disk`.

    Straight to its Arrow shards: `Dataset.from_generator` would put a copy of every image into the Hugging Face cache
    first, and find stale ones there, and its `Image` would look up image names in the current folder.
    """

    def __init__(self, folder: Path, split: str, features: datasets.Features):
        folder.mkdir()
        self.folder, self.split, self.features = folder, split, features
        self.schema = features.arrow_schema
        self._columns: dict[str, list] = {name: [] for name in self.schema.names}
        self._batch_bytes = self._shard_bytes = self._shards = 0
        self._stream: pa.RecordBatchStreamWriter | None = None
        # Names the content, so that caches of transformed datasets know it; equal input gives equal files.
        self._hash = hashlib.blake2b(self.schema.to_string().encode(), digest_size=8)
        self._hash.update(repr(features).encode())

    def __enter__(self) -> "_SplitWriter":
        return self

    def __exit__(self, exception_type, *_):
        if exception_type is None:
            self._finish()
        elif self._stream is not None:
            self._stream.close()

    def write(self, capture: Capture) -> None:
        row = capture.row
        values = {
            "image": {"bytes": capture.data, "path": row.image_name},
            "label": row.label,
            "patch_type": self.features["patch_type"].str2int(row.patch_type),
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
        # Where the list stands is no part of the content.
        self._hash.update(repr(astuple(row)[2:]).encode() + capture.digest)
        self._batch_bytes += len(capture.data)
        if len(self._columns["label"]) >= _ROWS_PER_BATCH or self._batch_bytes >= _BYTES_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._columns["label"]:
            return
        if self._stream is None:
            self._stream = pa.ipc.new_stream(str(self.folder / f"{self._shards}.arrow"), self.schema)
            self._shards += 1
        self._stream.write_batch(pa.RecordBatch.from_pydict(self._columns, schema=self.schema))
        self._columns = {name: [] for name in self.schema.names}
        self._shard_bytes += self._batch_bytes
        self._batch_bytes = 0
        if self._shard_bytes >= _BYTES_PER_SHARD:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._shard_bytes = None, 0

    def _finish(self) -> None:
        self._flush()
        self._end_shard()
        names = [f"data-{shard:05d}-of-{self._shards:05d}.arrow" for shard in range(self._shards)]
        for shard, name in enumerate(names):
            (self.folder / f"{shard}.arrow").rename(self.folder / name)
        state = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": self._hash.hexdigest(),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self.split,
        }
        _write_json(self.folder / _STATE_FILE, state)
        datasets.DatasetInfo(features=self.features).write_to_directory(str(self.folder), pretty_print=True)


def _check_output(target: Path, given: str | os.PathLike, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"output {given}: a file stands there; name a new folder")
    if not any(target.iterdir()):
        return
    if not (target / _SPLITS_FILE).is_file():
        raise InputError(f"output {given}: the folder isn't empty and holds no dataset; name a new or empty folder")
    if not overwrite:
        raise InputError(
            f"output {given}: a dataset is there already; name a new folder, or replace it by --overwrite"
        )
    foreign = _foreign_entries(target)
    if foreign:
        raise InputError(
            f"output {given}: beside the dataset there is {', '.join(foreign[:5])}"
            f"{' …' if len(foreign) > 5 else ''}, which overwriting would delete; name another folder"
        )


def _foreign_entries(folder: Path) -> list[str]:
    """What is in the folder of a DatasetDict without being part of it."""
    try:
        splits = json.loads((folder / _SPLITS_FILE).read_text(encoding="utf-8"))["splits"]
    except (ValueError, KeyError, TypeError, OSError):
        return [_SPLITS_FILE]  # not written by `datasets`
    ours = {_SPLITS_FILE, SUMMARY_FILE, REJECTED_FILE}
    foreign = [entry.name for entry in sorted(folder.iterdir()) if entry.name not in ours and entry.name not in splits]
    for split in splits:
        part = folder / split
        # Beside its data `datasets` keeps what it has computed from them, as cache-*.arrow.
        foreign += [
            f"{split}/{entry.name}"
            for entry in (sorted(part.iterdir()) if part.is_dir() else ())
            if entry.is_dir() or not (entry.suffix == ".arrow" or entry.name in (_STATE_FILE, _INFO_FILE))
        ]
    return foreign


def _bad_rows_message(bad: Sequence[BadRow]) -> str:
    count = "1 row" if len(bad) == 1 else f"{len(bad)} rows"
    return (
        f"{count} can't be used (--on-error skip leaves them out and lists them in {REJECTED_FILE}):\n{_listed(bad)}"
    )


def _listed(bad: Sequence[BadRow]) -> str:
    lines = [f"  {row}" for row in bad[:LISTED_BAD_ROWS]]
    if len(bad) > LISTED_BAD_ROWS:
        lines.append(f"  … and {len(bad) - LISTED_BAD_ROWS} more")
    return "\n".join(lines)


def _write_rejected(path: Path, bad: Sequence[BadRow]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "line", "image_name", "reason"))
        writer.writerows((row.file, row.line, row.image_name, row.reason) for row in bad)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _total(splits: Iterable[SplitSummary]) -> SplitSummary:
    total = SplitSummary()
    attacks, sources = Counter(), Counter()
    for split in splits:
        total.images += split.images
        total.live += split.live
        total.rejected += split.rejected
        attacks.update(split.attacks)
        sources.update(split.sources)
    total.attacks, total.sources = dict(sorted(attacks.items())), dict(sorted(sources.items()))
    return total


def _table_row(name: str, split: SplitSummary) -> tuple[str, ...]:
    return (
        name,
        str(split.images),
        str(split.live),
        str(sum(split.attacks.values())),
        str(split.rejected),
        ", ".join(f"{attack_type} {count}" for attack_type, count in split.attacks.items()) or "-",
        ", ".join(f"{source} {count}" for source, count in split.sources.items()) or "-",
    )
