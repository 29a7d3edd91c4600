import csv
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from patchnet_hf.data.simulation import SPLITS, plan_split, render_capture, write_demo_dataset
from patchnet_hf.data.simulation.camera import capture, demosaic, mosaic, quantisation_tables
from patchnet_hf.data.simulation.equipment import CAMERAS
from patchnet_hf.data.simulation.presentation import Presentation, clustered_dots, subpixel_tile
from patchnet_hf.errors import InputError

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_demo_data.py"
TRAIN, VAL_SEEN, VAL_UNSEEN = SPLITS
COLUMNS = ["image_name", "label", "device", "material", "attack_type", "source", "subject", "session", "video"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def render(split, index: int, seed: int = 0, size: int = 96) -> bytes:
    return render_capture(split, index, plan_split(split, index + 1)[index], size, seed)


# Plan


def test_half_of_a_split_is_live_a_quarter_printed_a_quarter_replayed():
    for split in SPLITS:
        plan = plan_split(split, 160)
        assert Counter(row.label for row in plan) == {1: 80, 0: 80}
        assert Counter(row.attack_type for row in plan) == {"bonafide": 80, "print": 40, "replay": 40}
        assert all((row.material == "live") == (row.label == 1) for row in plan)
        assert all(row.material.startswith(row.attack_type) for row in plan if row.label == 0)


def test_every_training_device_sees_every_training_material():
    rows = plan_split(TRAIN, 600)
    kinds = Counter((row.device, row.material) for row in rows)
    assert {device for device, _ in kinds} == set(TRAIN.devices)
    assert set(kinds) == {(d, m) for d in TRAIN.devices for m in ("live", *TRAIN.printers, *TRAIN.screens)}
    assert min(kinds.values()) >= 20


def test_subjects_are_disjoint_across_splits():
    subjects = [{row.subject for row in plan_split(split, 160)} for split in SPLITS]
    assert not (subjects[0] & subjects[1] or subjects[0] & subjects[2] or subjects[1] & subjects[2])


def test_every_subject_is_shown_live_as_often_as_attacked():
    rows = plan_split(TRAIN, 160)
    balance = Counter()
    for row in rows:
        balance[row.subject] += 1 if row.label else -1
    assert set(balance.values()) == {0}


def test_the_unseen_device_and_screen_are_absent_from_training_and_from_val_seen():
    seen, unseen = plan_split(TRAIN, 600) + plan_split(VAL_SEEN, 160), plan_split(VAL_UNSEEN, 160)
    assert not {row.device for row in seen} & {row.device for row in unseen}
    replays = [{row.material for row in rows if row.attack_type == "replay"} for rows in (seen, unseen)]
    assert replays[1] and not replays[0] & replays[1]


def test_a_row_of_the_plan_does_not_depend_on_how_many_follow():
    assert plan_split(TRAIN, 600)[:40] == plan_split(TRAIN, 40)


# Rendering


@pytest.mark.parametrize("index", [0, 1, 3, 9, 17])
def test_a_capture_is_a_pure_function_of_seed_split_and_index(index):
    first = render(TRAIN, index, seed=5)
    render(VAL_UNSEEN, 2, seed=6)
    assert render(TRAIN, index, seed=5) == first


def test_another_seed_split_or_index_gives_another_picture():
    pictures = {render(TRAIN, 0), render(TRAIN, 0, seed=1), render(VAL_SEEN, 0), render(TRAIN, 2)}
    assert len(pictures) == 4


@pytest.mark.parametrize("size", [64, 101, 160])
def test_pictures_are_rgb_jpegs_of_the_asked_size(size):
    for index in range(4):
        picture = cv2.imdecode(np.frombuffer(render(TRAIN, index, size=size), np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (size, size, 3)
        assert picture.std() > 8 and 10 < picture.mean() < 245


def test_the_devices_use_different_quantisation_tables():
    slopes = {}
    for split, index in ((TRAIN, 0), (TRAIN, 4), (VAL_UNSEEN, 0)):
        plan = plan_split(split, index + 1)[index]
        with Image.open(io.BytesIO(render(split, index))) as image:
            table = np.array(image.quantization[0], float)
        slopes[plan.device] = np.log(np.sort(table)[-8:].mean() / np.sort(table)[:8].mean())
    assert len(slopes) == 3 and len({round(slope, 2) for slope in slopes.values()}) == 3


# Physics


def test_quantisation_tables_with_slope_one_are_those_of_libjpeg():
    """Against Pillow's own tables for the same quality, read from a file it wrote."""
    for quality in (40, 75, 92):
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
        tables = Image.open(file).quantization
        ours = quantisation_tables(quality, 1.0)
        for number in (0, 1):
            assert np.abs(np.array(ours[number]) - np.array(tables[number])).max() <= 1


@pytest.mark.parametrize("coverage", [0.2, 0.5, 0.8])
def test_a_halftone_screen_prints_about_the_asked_coverage(coverage):
    tone = np.full((300, 300), coverage, np.float32)
    ink = clustered_dots(tone, 7.3, np.deg2rad(15), 0.2, np.random.default_rng(0))
    assert abs(ink.mean() - coverage) < 0.06
    assert ink.min() >= 0 and ink.max() <= 1


@pytest.mark.parametrize("angle", [0, 15, 45, 75])
def test_a_halftone_screen_has_the_asked_period_and_angle(angle):
    period, n = 8.0, 256
    ink = clustered_dots(np.full((n, n), 0.5, np.float32), period, np.deg2rad(angle), 0.2, np.random.default_rng(0))
    spectrum = np.abs(np.fft.fft2((ink - ink.mean()) * np.outer(np.hanning(n), np.hanning(n))))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    frequency = np.fft.fftfreq(n)
    assert np.hypot(frequency[row], frequency[column]) == pytest.approx(1 / period, abs=1.5 / n)
    direction = np.rad2deg(np.arctan2(frequency[row], frequency[column])) % 90
    assert min(abs(direction - angle % 90), 90 - abs(direction - angle % 90)) < 3


@pytest.mark.parametrize("layout", ["stripe", "stripe_vertical", "pentile", "chevron"])
def test_a_white_display_is_white_from_afar_and_coloured_close_by(layout):
    tile = subpixel_tile(layout, 0.8)
    assert tile.mean(axis=(0, 1)) == pytest.approx([1, 1, 1], rel=1e-4)
    assert (tile.max(axis=-1) > 2 * tile.min(axis=-1) + 0.1).mean() > 0.2


@pytest.mark.parametrize("method", ["bilinear", "edge_aware", "malvar"])
def test_demosaicing_restores_a_smooth_picture(method):
    y, x = np.mgrid[0:64, 0:64].astype(np.float32) / 64
    picture = np.dstack([0.2 + 0.5 * x, 0.3 + 0.4 * y, 0.6 - 0.3 * x * y])
    raw = mosaic(picture, np.random.default_rng(0), full_well=1e9, read_noise=0.0)
    assert np.abs(demosaic(raw, method) - picture)[4:-4, 4:-4].max() < 0.02


def test_shot_noise_grows_with_the_square_root_of_the_light():
    rng, deviations = np.random.default_rng(0), []
    for level in (0.1, 0.4):
        raw = mosaic(np.full((256, 256, 3), level, np.float32), rng, full_well=2000, read_noise=0.0)
        deviations.append(raw.std() / 65535)
    assert deviations == pytest.approx([np.sqrt(0.1 / 2000), np.sqrt(0.4 / 2000)], rel=0.03)


def test_a_display_finer_than_the_sensor_aliases_into_coarse_moire():
    """A grid with 1.9 sensor pixels a period has no coarse component of its own; sampled by a mosaic it gains one."""

    def coarse_colour(depth: float) -> float:
        ramp = np.arange(600, dtype=np.float32)
        grid = 1 + depth * np.sin(2 * np.pi * ramp / (1.9 * 2))
        radiance = np.broadcast_to(0.3 * grid[None, :, None], (600, 600, 3)).astype(np.float32)
        file = capture(Presentation(radiance, 0.0), CAMERAS["webcam_b"], 256, np.random.default_rng(3), 2, jitter=0)
        picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR).astype(np.float32)
        difference = picture[..., 2] - picture[..., 0]
        return cv2.GaussianBlur(difference, (0, 0), 2.0)[32:-32, 32:-32].std()

    assert coarse_colour(0.6) > 4 * coarse_colour(0.0)


# Not a toy


def global_statistics(file: bytes) -> list[float]:
    """Mean, standard deviation, sharpness (variance of the Laplacian) and file size of a JPEG."""
    grey = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE).astype(np.float64)
    return [grey.mean(), grey.std(), cv2.Laplacian(grey, cv2.CV_64F).var(), len(file)]


def described(split, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    plan = plan_split(split, count)
    statistics = [global_statistics(render_capture(split, i, row, 256, seed)) for i, row in enumerate(plan)]
    return np.array(statistics), np.array([row.label for row in plan]), np.array([row.attack_type for row in plan])


@pytest.mark.slow
def test_global_statistics_do_not_give_the_attacks_away():
    statistics, labels, _ = described(TRAIN, 240, seed=0)
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(statistics, labels)
    statistics, labels, kinds = described(VAL_UNSEEN, 120, seed=0)
    accepted = classifier.predict(statistics) == 1
    bpcer = 1 - accepted[labels == 1].mean()
    apcer = max(accepted[kinds == kind].mean() for kind in ("print", "replay"))
    apcer_pooled = accepted[labels == 0].mean()
    assert (apcer + bpcer) / 2 > 0.25
    assert (apcer_pooled + bpcer) / 2 > 0.25


# Files


def test_the_folders_hold_what_their_markup_says(tmp_path):
    write_demo_dataset(tmp_path / "demo", {"train": 16, "val_seen": 8, "val_unseen": 8}, size=64, workers=1)
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["train", "val_seen", "val_unseen"]
    for name, count in (("train", 16), ("val_seen", 8), ("val_unseen", 8)):
        folder = tmp_path / "demo" / name
        with open(folder / "markup.csv", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        assert reader.fieldnames == COLUMNS
        assert len(rows) == count
        assert {row["image_name"] for row in rows} == {f"images/{p.name}" for p in (folder / "images").iterdir()}


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    counts = {"train": 12, "val_seen": 4, "val_unseen": 4}
    write_demo_dataset(tmp_path / "one", counts, size=96, seed=3, workers=1)
    write_demo_dataset(tmp_path / "two", counts, size=96, seed=3, workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_nothing_is_left_behind_when_rendering_stops_half_way(tmp_path):
    done = []

    def stop_after_three():
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo_dataset(tmp_path / "demo", {"train": 8}, size=64, workers=1, advance=stop_after_three)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_holds_something_is_refused_and_kept(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        write_demo_dataset(tmp_path / "demo", {"train": 4}, size=64, workers=1)
    assert (tmp_path / "demo" / "mine.txt").read_text() == "keep"
    write_demo_dataset(tmp_path / "demo", {"train": 4}, size=64, workers=1, overwrite=True)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["train"]


def run_script(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_script_prints_a_table_and_what_to_run_next(tmp_path):
    run = run_script("--output", str(tmp_path / "d"), "--train", "8", "--val", "4", "--size", "64", "--workers", "1")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["split", "images", "live", "print", "replay", "subjects", "devices"]
    assert lines[2].split()[:6] == ["train", "8", "4", "2", "2", "1"]
    assert "scripts/convert_dataset.py --csv" in run.stdout
    assert (tmp_path / "d" / "val_unseen" / "markup.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--output", "{full}"], "not empty"),
        (["--output", "{new}", "--train", "0"], "--train is 0"),
        (["--output", "{new}", "--sede", "1"], "did you mean --seed"),
    ],
)
def test_the_script_answers_bad_input_with_one_line_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    names = {"full": tmp_path / "full", "new": tmp_path / "new"}
    run = run_script(*(argument.format(**names) for argument in arguments))
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1 and message in run.stderr
    assert not (tmp_path / "new").exists()
