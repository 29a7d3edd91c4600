"""From a tree of images and videos to an image folder with CSV lists."""

import csv
import json
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ..data.csv_files import FOLDER_LIST, SPLIT_LISTS
from ..data.decoding import quiet_opencv
from ..data.schema import LIVE
from ..errors import InputError
from ..inference.sources import Frame, evenly_spread, stated_length, video_frames
from ..json_files import finite
from ..late_interrupt import late_interrupt
from ..text_table import counted
from ..versions import versions_of
from ..whole_folder import FINISHED_FOLDER, check_output_folder, resumable_folder
from .box_sources import DetectedBoxes
from .descriptions import SPLITS, Description
from .image_writing import BoxOf, PreparedImage, output_suffix, prepare_frame, prepare_image
from .input_files import BadFile, InputFile, InputFiles, find_input_files
from .jpeg_crop import check_that_jpegs_can_be_cropped
from .label_lists import read_label_lists
from .layouts import Layout
from .output_names import IMAGES, OutputNames
from .overview import draw_overview
from .rows import PreparedRow, write_rows
from .settings import BY_FOLDERS, NO_SPLIT, PathMeanings, PreparationSettings
from .splitting import SplitShares, split_captures
from .summary import PreparationSummary, count_rows

SUMMARY_FILE = "preparation.json"
OVERVIEW_FILE = "overview.png"
REJECTED_FILE = "rejected.csv"
FILES = (IMAGES, FOLDER_LIST, *SPLIT_LISTS, SUMMARY_FILE, OVERVIEW_FILE, REJECTED_FILE)
LISTED_BAD_FILES = 20
"""How many bad files an error message lists; the others are counted."""

IGNORED = "ignored by the layout"
_FOLDER_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A file to prepare: what is known of it, and where it goes (of a video, the folder of its frames)."""

    file: InputFile
    description: Description
    target: str


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """What became of a file: its rows, the frames that can't be used, and whether it is shorter than it says."""

    rows: list[PreparedRow]
    bad_frames: list[BadFile]
    is_short: bool


def prepare(settings: PreparationSettings, progress: bool = True) -> PreparationSummary:
    """
    Writes `settings.output`: `images/`, one list (`markup.csv`) or one for each split, `overview.png`, and
    `preparation.json` with the counts. It appears only when all is written. Equal input gives equal output.

    Args:
        settings: what to prepare, and how.
        progress: whether to show a bar, where there is a terminal.

    Raises:
        InputError: nothing usable is found; the path of a file says nothing or two things, or a file can't be used
            (listing all such files; with `on_error="skip"` they are written to `rejected.csv` instead); or the output
            can't be written.
    """
    target = Path(os.path.realpath(settings.output))
    _check_output(settings, target)
    found = find_input_files(settings.input)
    if not found.captures and not found.bad:
        others = ", ".join(f"{name} {count}" for name, count in found.passed_over.items())
        raise InputError(
            f"input {settings.input}: no image or video in this folder or the folders below it"
            f"{f'; passed over: {others}' if others else ''}"
        )
    jobs, bad, ignored = _plan(found, settings, progress)
    if bad and (settings.on_error == "stop" or not jobs):
        raise InputError(_message(bad, found, settings))
    if not jobs:
        raise InputError(f"input {settings.input}: the layout ignores all {counted(ignored, 'file')} in it")
    _check_jpegs(jobs, settings)

    check = partial(_check_output, settings, target)
    with resumable_folder(target, check, resumes=False) as folder, quiet_opencv():
        work = folder / FINISHED_FOLDER
        work.mkdir()
        short: list[str] = []
        with late_interrupt() as asked:
            rows = list(_prepared_rows(jobs, work, settings, bad, short, progress, asked))
        if bad and (settings.on_error == "stop" or not rows):
            raise InputError(_message(bad, found, settings))
        lists = _lists(rows, settings)
        for name, of_list in lists.items():
            write_rows(work / name, of_list)
        if bad:
            _write_rejected(work / REJECTED_FILE, bad)
        passed_over = {**found.passed_over, **({IGNORED: ignored} if ignored else {})}
        summary = PreparationSummary(
            output=str(settings.output),
            lists={name: count_rows(of_list) for name, of_list in lists.items()},
            files=dict(sorted(Counter(job.file.kind for job in jobs).items())),
            passed_over=passed_over,
            rejected=len(bad),
            several_faces=settings.boxes.detector.several if isinstance(settings.boxes, DetectedBoxes) else 0,
            notes=_notes(lists, short),
        )
        draw_overview(
            [row for of_list in lists.values() for row in of_list], work, work / OVERVIEW_FILE, settings.samples
        )
        _write_summary(work / SUMMARY_FILE, summary, settings)
    return summary


def _check_output(settings: PreparationSettings, target: Path) -> None:
    check_output_folder(settings.output, "a prepared dataset", FILES, _is_prepared, settings.overwrite)
    source = Path(os.path.realpath(settings.input))
    if target == source or target.is_relative_to(source):
        raise InputError(f"output {settings.output} lies in the input folder; name a folder elsewhere")
    if source.is_relative_to(target):
        raise InputError(f"output {settings.output}: the input folder lies in it; name a folder elsewhere")


def _is_prepared(folder: Path) -> bool:
    try:
        content = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"lists", "files"} <= content.keys()


def _plan(found: InputFiles, settings: PreparationSettings, progress: bool) -> tuple[list[Job], list[BadFile], int]:
    """What is to be done with each file, those that can't be used, and how many the layout leaves out."""
    meanings, bad, ignored = settings.meanings, list(found.bad), 0
    if isinstance(meanings, Layout) and meanings.lists:
        listed = read_label_lists(meanings.lists, found.others)
        meanings = replace(meanings, listed=listed)
        there = {file.name for file in found.captures}
        bad += [BadFile(name, "a list names it, but it isn't there") for name in sorted(listed.keys() - there)]
    names, jobs = OutputNames(), []
    for file in tqdm(found.captures, unit="file", desc="reading paths", delay=0.5, disable=None if progress else True):
        if isinstance(meanings, Layout) and meanings.ignores(file.name):
            ignored += 1
            continue
        try:
            description = _with_split(meanings(file.name), file, settings)
        except ValueError as error:
            bad.append(BadFile(file.name, str(error)))
            continue
        if file.kind == "video":
            folder = names.folder(file.name)
            if description.video is None:
                # Not its path without the ending: `clip.avi` and `clip.mov` are two videos.
                description = replace(description, video=folder.removeprefix(f"{IMAGES}/"))
            jobs.append(Job(file, description, folder))
        else:
            suffix = output_suffix(PurePosixPath(file.name).suffix, settings.images, settings.boxes is not None)
            jobs.append(Job(file, description, names.image(file.name, suffix)))
    return jobs, bad, ignored


def _with_split(description: Description, file: InputFile, settings: PreparationSettings) -> Description:
    if settings.split == BY_FOLDERS and description.split is None:
        said = {
            _FOLDER_SPLITS[part.lower()]
            for part in PurePosixPath(file.name).parts[:-1]
            if part.lower() in _FOLDER_SPLITS
        }
        if len(said) != 1:
            what = f"several splits: {', '.join(sorted(said))}" if said else "no split (train, val or test)"
            raise ValueError(f"the folders in its path say {what}")
        return replace(description, split=said.pop())
    layout_counts = settings.split is None and isinstance(settings.meanings, Layout) and settings.meanings.has_splits
    if layout_counts and description.split is None:
        raise ValueError("the layout says no split of it")
    return description if settings.split in (None, BY_FOLDERS) else replace(description, split=None)


def _check_jpegs(jobs: Sequence[Job], settings: PreparationSettings) -> None:
    images = settings.images
    if not settings.crops or images.reencode is not None:
        return
    jpeg = next((job.file for job in jobs if job.file.path.suffix.lower() in (".jpg", ".jpeg")), None)
    if jpeg is None:
        return
    if images.border == "replicate":
        raise InputError(
            f"--border replicate adds pixels, which no JPEG file takes without being encoded again ({jpeg.name}): "
            f"add --reencode png, or --reencode QUALITY, or let crops end at the image (--border clip)"
        )
    check_that_jpegs_can_be_cropped()


def _prepared_rows(
    jobs: Sequence[Job],
    work: Path,
    settings: PreparationSettings,
    bad: list[BadFile],
    short: list[str],
    progress: bool,
    stop: Callable[[], bool],
) -> Iterator[PreparedRow]:
    """
    Prepares the files on several threads; yields their rows in order, adds those that fail to `bad`, and the names of
    videos that are shorter than they say to `short`. Ends before all are done if `stop` says so.
    """
    workers = settings.workers or min(os.cpu_count() or 1, 8)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    ahead: deque[tuple[Job, Future]] = deque()

    def finished() -> list[PreparedRow]:
        job, future = ahead.popleft()
        bar.update()
        try:
            prepared = future.result()
        except ValueError as error:
            bad.append(BadFile(job.file.name, str(error)))
            return []
        bad.extend(prepared.bad_frames)
        if prepared.is_short:
            short.append(job.file.name)
        return prepared.rows

    with tqdm(total=len(jobs), unit="file", desc="preparing", delay=0.5, disable=None if progress else True) as bar:
        try:
            for job in jobs:
                if stop():
                    return
                ahead.append((job, pool.submit(_prepare_file, job, work, settings)))
                if len(ahead) > 4 * workers:
                    yield from finished()
            while ahead and not stop():
                yield from finished()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare_file(job: Job, work: Path, settings: PreparationSettings) -> PreparedFile:
    """
    Writes the image, or the frames of a video.

    Raises:
        ValueError: the file can't be used.
    """
    path, boxes = job.file.path, settings.boxes
    box_of = None if boxes is None else lambda pixels: boxes(path, pixels)
    try:
        with open(path, "rb") as file:
            data = file.read() if job.file.kind == "image" else file.read(1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from error
    if not data:
        raise ValueError("the file is empty")
    is_short = False
    if job.file.kind == "video":
        outcomes, is_short = _written_frames(job, box_of, work, settings)
    else:
        outcomes = [_written(job, job.target, prepare_image(data, box_of, settings.images), work, settings)]
    rows = [outcome for outcome in outcomes if isinstance(outcome, PreparedRow)]
    return PreparedFile(rows, [outcome for outcome in outcomes if isinstance(outcome, BadFile)], is_short)


def _written_frames(
    job: Job, box_of: BoxOf | None, work: Path, settings: PreparationSettings
) -> tuple[list[PreparedRow | BadFile], bool]:
    suffix = output_suffix("", settings.images, settings.boxes is not None)

    numbers: list[int] = []

    # Frame by frame, so that a long or large video takes no more memory than another.
    def written(frame: Frame) -> PreparedRow | BadFile:
        numbers.append(frame.number)
        try:
            image = prepare_frame(frame.image, box_of, settings.images)
        except ValueError as error:
            return BadFile(job.file.name, f"frame {frame.number}: {error}")
        return _written(job, f"{job.target}/{frame.number:06d}{suffix}", image, work, settings)

    stated = stated_length(job.file.path)
    outcomes = video_frames(job.file.path, settings.frames, written)
    is_short = stated > 0 and numbers[-len(outcomes) :] != evenly_spread(stated, settings.frames)
    # A video that is shorter than it says is gone through again, for other frames.
    names = {outcome.image_name for outcome in outcomes if isinstance(outcome, PreparedRow)}
    for file in (work / job.target).glob("*"):
        if f"{job.target}/{file.name}" not in names:
            file.unlink()
    return outcomes, is_short


def _written(job: Job, name: str, image: PreparedImage, work: Path, settings: PreparationSettings) -> PreparedRow:
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).write_bytes(image.data)
    return PreparedRow(name, job.description, settings.source_name, image.face_box, job.file.name)


def _lists(rows: Sequence[PreparedRow], settings: PreparationSettings) -> dict[str, list[PreparedRow]]:
    """File name of each list to its rows."""
    if isinstance(settings.split, SplitShares):
        splits = split_captures(
            _group_keys(rows, settings.split.group_by),
            [row.description.attack_type for row in rows],
            [row.description.label == LIVE for row in rows],
            settings.split,
        )
    else:
        splits = [row.description.split for row in rows]
    if settings.split == NO_SPLIT or not any(splits):
        return {FOLDER_LIST: list(rows)}
    return {
        f"{split}.csv": of_split
        for split in SPLITS
        if (of_split := [row for row, chosen in zip(rows, splits, strict=True) if chosen == split])
    }


def _group_keys(rows: Sequence[PreparedRow], group_by: str) -> list[str]:
    if group_by == "image":
        return [row.image_name for row in rows]
    keys = [getattr(row.description, group_by) for row in rows]
    if unknown := [row.origin for row, key in zip(rows, keys, strict=True) if not key]:
        raise InputError(
            f"--group-by {group_by}: the {group_by} of {counted(len(unknown), 'image')} isn't known, for example of "
            f"{unknown[0]}; tell it by --pattern '(?P<{group_by}>…)', or group by what is known"
        )
    return keys


def _notes(lists: dict[str, list[PreparedRow]], short: Sequence[str]) -> list[str]:
    notes = []
    if short:
        notes.append(f"{counted(len(short), 'video')} with fewer frames than stated, perhaps cut off: {_some(short)}")
    for name, rows in lists.items():
        labels = {row.description.label for row in rows}
        if len(labels) == 1:
            notes.append(f"{name} has no {'attacks' if LIVE in labels else 'live captures'}")
    subjects: dict[str, set[str]] = {}
    for name, rows in lists.items():
        for row in rows:
            if row.description.subject:
                subjects.setdefault(row.description.subject, set()).add(name)
    shared = sorted(subject for subject, names in subjects.items() if len(names) > 1)
    if shared:
        notes.append(f"{counted(len(shared), 'subject')} in more than one list: {_some(shared)}")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def _message(bad: Sequence[BadFile], found: InputFiles, settings: PreparationSettings) -> str:
    files = {file.name for file in bad}
    total = len(files | {file.name for file in found.captures})
    stops = settings.on_error == "stop"
    advice = f" (--on-error skip leaves them out and lists them in {REJECTED_FILE})" if stops else ""
    lines = [f"{len(files)} of {counted(total, 'file')} can't be used{advice}:"]
    lines += [f"  {file}" for file in bad[:LISTED_BAD_FILES]]
    if len(bad) > LISTED_BAD_FILES:
        lines.append(f"  … and {len(bad) - LISTED_BAD_FILES} more")
        reasons = Counter(_kind_of(file.reason) for file in bad)
        if len(reasons) > 1:
            lines += [f"  in all {count}: {reason}" for reason, count in reasons.most_common(5)]
    return "\n".join(lines)


def _kind_of(reason: str) -> str:
    """A reason without the numbers that differ from file to file."""
    return re.sub(r"\d+(\.\d+)?", "#", reason)


def _write_rejected(path: Path, bad: Iterable[BadFile]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "reason"))
        writer.writerows((each.name, each.reason) for each in bad)


def _write_summary(path: Path, summary: PreparationSummary, settings: PreparationSettings) -> None:
    images = settings.images
    split = settings.split
    content = {
        **summary.as_json(),
        "settings": {
            "input": str(settings.input),
            "source": settings.source_name,
            "layout": settings.meanings.name if isinstance(settings.meanings, Layout) else None,
            "paths": settings.meanings.as_json() if isinstance(settings.meanings, PathMeanings) else None,
            "boxes": None if settings.boxes is None else str(settings.boxes),
            "keep_images": images.keep_images,
            "expand": images.expand,
            "border": images.border,
            "reencode": images.reencode,
            "frames": settings.frames,
            "split": {**split.shares, "group_by": split.group_by, "seed": split.seed}
            if isinstance(split, SplitShares)
            else split,
        },
        "versions": versions_of(("numpy", "opencv-python-headless", "PyTurboJPEG", "pillow", "dlib-bin")),
    }
    path.write_text(json.dumps(finite(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
