"""CSV lists of captures to one Arrow `DatasetDict` on disk, with every file's bytes as they are."""

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import datasets
from tqdm import tqdm

from ..errors import InputError
from ..late_interrupt import late_interrupt
from ..text_table import text_table
from ..whole_folder import FINISHED_FOLDER, check_output_folder, resumable_folder
from .csv_files import BadRow, CaptureRow, CsvFile, CsvLayout, find_csv_files, read_layout, read_rows
from .decoding import turbojpeg_is_available
from .schema import LABELS, LIVE, capture_features
from .shard_processes import write_shards
from .shards import ShardResult, ShardSettings, Stopped, plan_shards, shard_file

REJECTED_FILE = "rejected.csv"
SUMMARY_FILE = "conversion.json"
LISTED_BAD_ROWS = 50
"""How many bad rows an error message lists; the others are counted."""
MOST_PROCESSES = 8
"""By default; more wait for the disk."""

# The files of a saved DatasetDict, as `DatasetDict.load_from_disk` looks for them.
_SPLITS_FILE, _STATE_FILE, _INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"
_SHARDS_FOLDER = "shards"


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
    embed: bool = True,
    num_proc: int | None = None,
    progress: bool = True,
) -> ConversionSummary:
    """Writes the captures that CSV lists name as one `DatasetDict` that `datasets.load_from_disk` opens.

    The dataset has the columns of :func:`~patchnet_hf.data.schema.capture_features`, rows in the order of the lists,
    and the bytes of every file unchanged; `patch_type` has one sorted list of names for all splits. Every image is
    decoded once to see that it can be. Memory stays small however many images there are, and `output` appears only
    when all is written. What was killed before goes on when it is called again: shards that are written are taken
    over if their rows and image files (by size and time of change) are the same. The files don't depend on that,
    nor on `num_proc`.

    Args:
        csv_paths: `[SPLIT=]PATH` arguments, see :func:`~patchnet_hf.data.csv_files.find_csv_files`. Lists of the same
            split are joined.
        output: the folder to write; must not exist or be empty.
        on_error: what to do about rows that can't be used. "stop" reports all of them and writes nothing; "skip"
            leaves them out and lists them in `rejected.csv` in `output`.
        overwrite: replace `output` when it holds a DatasetDict and nothing else.
        embed: whether the dataset holds the bytes of the images; if not, it holds their absolute paths, and the
            images have to stay where they are.
        num_proc: processes that read, decode and write, each a shard of at most 10,000 rows at a time (default: one
            for each processor, at most 8); where there is but one shard, as many threads.
        progress: whether to show a progress bar (only where stderr is a terminal).

    Returns:
        The counts, which also stand in `conversion.json` in `output`.

    Raises:
        InputError: when a list or `output` can't be used, a row is bad (with "stop"), a split would have no rows, a
            patch type occurs with both labels, or a process is killed.
        KeyboardInterrupt: says that the same call goes on.
    """
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error is {on_error!r}, expected 'stop' or 'skip'")
    if num_proc is None:
        num_proc = min(os.cpu_count() or 1, MOST_PROCESSES)
    if num_proc < 1:
        raise InputError(f"num_proc is {num_proc}, expected at least 1")
    target = Path(os.path.realpath(output))
    _check_output(output, overwrite)
    files = find_csv_files(csv_paths)
    layouts = {file.path: read_layout(file.path) for file in files}
    splits: dict[str, list[CsvFile]] = {}
    for file in files:
        splits.setdefault(file.split, []).append(file)
    row_counts, labels = _survey(files, layouts)
    turbojpeg_is_available()  # looked for once, before many threads ask
    try:
        with resumable_folder(target, check=lambda: _check_output(output, overwrite)) as work:
            (work / _SHARDS_FOLDER).mkdir(exist_ok=True)
            patch_types = sorted(labels)
            while True:
                settings = ShardSettings(
                    work / _SHARDS_FOLDER, tuple(patch_types or LABELS), embed, keep_nothing_if_bad=on_error == "stop"
                )
                rows = sum(row_counts.values())
                results = _write_shards(splits, layouts, labels, settings, num_proc, rows, progress)
                bad = [row for result in results for row in result.bad]
                if bad and on_error == "stop":
                    raise InputError(_bad_rows_message(bad))
                written = {split: _split_summary(split, results) for split in splits}
                if empty := [split for split, summary in written.items() if not summary.images]:
                    raise InputError(f"no usable row for split {', '.join(empty)}:\n{_listed(bad)}")
                used = sorted(set().union(*(result.patch_types for result in results)))
                if used == patch_types:
                    break
                # All rows of some patch type were rejected: without them that class would be in the model for
                # nothing. Class ids change with the list of names, so this rare case starts over.
                patch_types = used
            summary = ConversionSummary(
                output=str(output),
                splits=written,
                patch_types=patch_types,
                live_patch_types=[name for name in patch_types if labels[name] == LIVE],
                ignored_columns={
                    str(path): list(layout.ignored) for path, layout in layouts.items() if layout.ignored
                },
            )
            _assemble(work / FINISHED_FOLDER, settings, results, summary)
            if bad:
                _write_rejected(work / FINISHED_FOLDER / REJECTED_FILE, bad)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from None
    return summary


def _write_shards(
    splits: dict[str, list[CsvFile]],
    layouts: dict[Path, CsvLayout],
    surveyed: Collection[str],
    settings: ShardSettings,
    num_proc: int,
    rows: int,
    progress: bool,
) -> list[ShardResult]:
    """Writes all shards; their results in the order of their rows."""
    bar = tqdm(total=rows, desc="Converting", unit="image", disable=None if progress else True)
    with bar, late_interrupt() as asked:
        of_splits = ((split, _rows(files, layouts, surveyed, asked)) for split, files in splits.items())
        tasks = plan_shards(of_splits, settings.embed)
        # Closed here, so that no process of it goes on when this is left.
        with closing(write_shards(tasks, settings, num_proc, bar.update, asked)) as results:
            return sorted(results, key=lambda result: result.number)


def _rows(
    files: Iterable[CsvFile], layouts: dict[Path, CsvLayout], surveyed: Collection[str], stop: Callable[[], bool]
) -> Iterator[CaptureRow | BadRow]:
    for file in files:
        for row in read_rows(file.path, layouts[file.path]):
            if stop():
                raise Stopped
            if isinstance(row, CaptureRow) and row.patch_type not in surveyed:
                raise InputError(f"{row.file}:{row.line}: the file was changed while it was read; start again")
            yield row


def _split_summary(split: str, results: Iterable[ShardResult]) -> SplitSummary:
    summary, attacks, sources = SplitSummary(), Counter(), Counter()
    for result in results:
        if result.split == split:
            summary.images += result.images
            summary.live += result.live
            summary.rejected += len(result.bad)
            attacks.update(result.attacks)
            sources.update(result.sources)
    summary.attacks, summary.sources = dict(sorted(attacks.items())), dict(sorted(sources.items()))
    return summary


def _assemble(
    folder: Path, settings: ShardSettings, results: Sequence[ShardResult], summary: ConversionSummary
) -> None:
    """Makes the finished shards the dataset `folder`, in the layout of `DatasetDict.save_to_disk`."""
    # Of a run that was killed while it did this.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    features = capture_features(settings.patch_types)
    for split in summary.splits:
        part = folder / split
        part.mkdir()
        shards = [result for result in results if result.split == split and result.images]
        names = [f"data-{index:05d}-of-{len(shards):05d}.arrow" for index in range(len(shards))]
        # Names the content, so that caches of transformed datasets know it; equal input gives equal files.
        content = hashlib.blake2b(features.arrow_schema.to_string().encode(), digest_size=8)
        content.update(repr(features).encode())
        for result, name in zip(shards, names, strict=True):
            content.update(result.digest.encode())
            shard_file(settings.folder, result.number).rename(part / name)
        state = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": content.hexdigest(),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        _write_json(part / _STATE_FILE, state)
        datasets.DatasetInfo(features=features).write_to_directory(str(part), pretty_print=True)
    _write_json(folder / _SPLITS_FILE, {"splits": list(summary.splits)})
    _write_json(folder / SUMMARY_FILE, asdict(summary))


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


def _check_output(output: str | os.PathLike, overwrite: bool) -> None:
    check_output_folder(output, "a dataset", (), _is_dataset, overwrite, _foreign_entries)


def _is_dataset(folder: Path) -> bool:
    return (folder / _SPLITS_FILE).is_file()


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
        f"{count} can't be used (scripts/convert_dataset.py --on-error skip leaves them out and lists them in "
        f"{REJECTED_FILE}):\n{_listed(bad)}"
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
