"""The embedded demo data: which captures make up which split, and their rendering into CSV folders."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from ...child_processes import serve_parent, started_out_of_reach
from ...errors import InputError
from ...late_interrupt import late_interrupt
from ...text_table import text_table
from ...whole_folder import whole_folder
from .camera import capture, decode_jpeg
from .equipment import CAMERAS, PRINTERS, SCREENS, SOURCE_CAMERA
from .presentation import Presentation, present_live, present_print, present_replay
from .scene import Person, render_scene, sample_person

PER_PIXEL = 2  # raster samples to a sensor pixel
OVERSCAN = 1.12  # the raster is larger than the picture, so that the hand may shake
PER_SUBJECT = 8  # captures of one subject: both devices, each four times (two live, a print, a replay)


@dataclass(frozen=True)
class Split:
    """Who and what a split may show."""

    name: str
    number: int  # part of the random seed, so that splits never share a draw
    devices: tuple[str, ...]
    printers: tuple[str, ...]
    screens: tuple[str, ...]


SEEN = (("phone_a", "webcam_b"), ("print_laser", "print_inkjet", "print_offset"),
        ("replay_monitor", "replay_phone", "replay_tablet"))  # fmt: skip
SPLITS = (
    Split("train", 0, *SEEN),
    Split("val_seen", 1, *SEEN),
    Split("val_unseen", 2, ("tablet_c",), SEEN[1], ("replay_laptop",)),
)


@dataclass(frozen=True)
class Capture:
    """One row of a `markup.csv`."""

    image_name: str
    label: int  # 1 = bona fide, 0 = attack
    device: str
    material: str
    attack_type: str  # "bonafide", "print" or "replay"
    source: str
    subject: str
    session: str
    video: str


def plan_split(split: Split, count: int) -> list[Capture]:
    """The captures of a split: half live, a quarter print, a quarter replay, all devices and media in turn.

    Row i doesn't depend on `count`, and every subject is shown live and attacked equally often.
    """
    captures = []
    for index in range(count):
        attack = (None, "print", None, "replay")[index % 4]
        group = index // 4
        device = split.devices[group % len(split.devices)]
        media = {None: ("live",), "print": split.printers, "replay": split.screens}[attack]
        subject = f"{split.name}_{index // PER_SUBJECT:04d}"
        material = media[(group // len(split.devices)) % len(media)]
        captures.append(
            Capture(
                image_name=f"images/{index:05d}_{material}.jpg",
                label=int(attack is None),
                device=device,
                material=material,
                attack_type=attack or "bonafide",
                source="demo",
                subject=subject,
                session=f"{subject}_{device}",
                video=f"{split.name}_{index:05d}",
            )
        )
    return captures


def render_capture(split: Split, index: int, plan: Capture, size: int = 256, seed: int = 0) -> bytes:
    """Simulates one capture: a JPEG file, a pure function of the arguments."""
    number = index // PER_SUBJECT
    person = sample_person(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split.number, 0, number))))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split.number, 1, index)))
    side = round(size * PER_PIXEL * OVERSCAN)
    if plan.label:
        presentation = present_live(render_scene(person, side, rng), rng)
    else:
        photograph = photograph_for_attack(person, size, rng)
        if plan.attack_type == "print":
            presentation = present_print(photograph, PRINTERS[plan.material], side, PER_PIXEL, rng)
        else:
            presentation = present_replay(photograph, SCREENS[plan.material], side, PER_PIXEL, rng)
    return capture(presentation, CAMERAS[plan.device], size, rng, PER_PIXEL)


def photograph_for_attack(person: Person, size: int, rng: np.random.Generator) -> np.ndarray:
    """The attacker's own photograph of the face: (n, n, 3) uint8 RGB, n a little more than `size`."""
    resolution = round(size * rng.uniform(1.0, 1.4))
    scene = Presentation(render_scene(person, round(2 * resolution * 1.03), rng), 0.0)
    return decode_jpeg(capture(scene, SOURCE_CAMERA, resolution, rng, per_pixel=2, jitter=0.2))


def summary_table(splits: dict[str, list[Capture]]) -> str:
    """What each split holds, as text: images, live, attacks by type, subjects, devices."""
    header = ("split", "images", "live", "print", "replay", "subjects", "devices")
    rows = []
    for name, captures in splits.items():
        kinds = Counter(row.attack_type for row in captures)
        people, devices = {row.subject for row in captures}, {row.device for row in captures}
        counts = (len(captures), kinds["bonafide"], kinds["print"], kinds["replay"], len(people))
        rows.append((name, *map(str, counts), ", ".join(sorted(devices))))
    return text_table(header, rows, left=(0, 6))


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Processes are the parallelism here; OpenCV's own threads would only contend with them."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _write_capture(job: tuple[Path, Split, int, Capture, int, int]) -> None:
    folder, split, index, plan, size, seed = job
    (folder / split.name / plan.image_name).write_bytes(render_capture(split, index, plan, size, seed))


def _start_worker() -> None:
    serve_parent()
    cv2.setNumThreads(1)


def render_all(jobs: list[tuple], workers: int, advance: Callable[[], object]) -> None:
    """Renders and writes the captures of `jobs`, in this process or in several; calls `advance` after each."""
    if workers > 1:
        # Spawned, not forked: the caller may hold threads (torch, OpenCV) that a fork would break.
        with (
            late_interrupt() as asked,
            ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool,
        ):
            with started_out_of_reach():
                written = pool.map(_write_capture, jobs)
            with closing(written):
                for _ in written:
                    advance()
                    if asked():
                        break
        return
    with single_threaded_opencv():
        for job in jobs:
            _write_capture(job)
            advance()


def write_markup(path: Path, captures: list[Capture]) -> None:
    """Writes the rows with a header of the column names."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Capture)])
        writer.writerows(astuple(row) for row in captures)


def write_demo_dataset(
    output: str | os.PathLike,
    counts: dict[str, int],
    size: int = 256,
    seed: int = 0,
    workers: int = 2,
    overwrite: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, list[Capture]]:
    """Writes the CSV folders `train`, `val_seen` and `val_unseen` under `output`.

    counts: images for each split's name. The folder appears complete or not at all: it is built beside `output` and
    renamed. The same arguments give the same bytes whatever the number of `workers`.

    Raises:
        InputError: `output` exists and isn't empty (without `overwrite`), is a file, or can't be written.
    """
    output = Path(output).absolute()
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; --output needs a folder")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise InputError(f"{output} exists and is not empty; give another --output or --overwrite")
    splits = [split for split in SPLITS if counts.get(split.name)]
    plans = {split.name: plan_split(split, counts[split.name]) for split in splits}
    with whole_folder(output) as building:
        for name, captures in plans.items():
            (building / name / "images").mkdir(parents=True)
            write_markup(building / name / "markup.csv", captures)
        jobs = [
            (building, split, index, capture, size, seed)
            for split in splits
            for index, capture in enumerate(plans[split.name])
        ]
        render_all(jobs, workers, advance)
    return plans
