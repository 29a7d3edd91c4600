"""scores.csv, read back by the csv module."""

import csv
import math

import numpy as np

from patchnet_hf.evaluation.operating_point import OperatingPoint
from patchnet_hf.evaluation.presentations import Presentations
from patchnet_hf.evaluation.scores_file import write_scores


def written(path, sets, level="image", threshold=0.5):
    parts = [Presentations.of(scored, level) for scored in sets]
    write_scores(path, sets, parts, OperatingPoint.fixed(threshold, "given"))
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_has_a_row_whose_numbers_are_exact(random_set, tmp_path):
    sets = [random_set("one"), random_set("two", seed=1)]
    rows = written(tmp_path / "scores.csv", sets, threshold=0.7)
    assert [row["set"] for row in rows] == ["one"] * 160 + ["two"] * 160
    scores = np.concatenate([scored.scores for scored in sets])
    assert [float(row["live_log_odds"]) for row in rows] == scores.tolist()
    for row, score in zip(rows, scores, strict=True):
        assert math.isclose(float(row["live_probability"]), 1 / (1 + math.exp(-score)), rel_tol=1e-12)
        assert row["decision"] == ("live" if score >= math.log(7 / 3) else "spoof")
    first = rows[2]
    assert (first["file"], first["label"], first["attack_type"]) == ("faces/0002.jpg", "1", "bonafide")
    assert (first["subject"], first["video"], first["device"], first["session"]) == (
        "person 0", "video 1", "phone", "")  # fmt: skip
    patches = [[float(row[f"patch_{cell // 2}_{cell % 2}"]) for cell in range(4)] for row in rows[:160]]
    assert patches == sets[0].patch_scores.tolist()
    assert "clip" not in first


def test_frames_of_a_clip_carry_its_score_and_its_decision(random_set, tmp_path):
    rows = written(tmp_path / "scores.csv", [random_set()], "clip")
    clips = {}
    for row in rows:
        clips.setdefault(row["clip"], []).append(row)
    assert len(clips) == 80
    for frames in clips.values():
        mean = np.mean([float(row["live_log_odds"]) for row in frames])
        assert {row["clip_live_log_odds"] for row in frames} == {frames[0]["clip_live_log_odds"]}
        assert math.isclose(float(frames[0]["clip_live_log_odds"]), mean, rel_tol=1e-12, abs_tol=1e-12)
        assert {row["decision"] for row in frames} == {"live" if mean >= 0 else "spoof"}


def test_names_with_commas_quotes_and_line_breaks_come_back_and_folders_of_this_machine_do_not(random_set, tmp_path):
    files = [f"faces/{index}.jpg" for index in range(160)]
    files[:3] = ['a,"b"\n.jpg', "/home/anna/secret/1.jpg", "C:\\Users\\anna\\2.jpg"]
    rows = written(tmp_path / "scores.csv", [random_set(files=files)])
    assert [row["file"] for row in rows[:4]] == ['a,"b"\n.jpg', "1.jpg", "2.jpg", "faces/3.jpg"]
    assert "anna" not in (tmp_path / "scores.csv").read_text(encoding="utf-8")


def test_scores_of_patches_that_a_graph_does_not_give_are_empty(random_set, tmp_path):
    rows = written(tmp_path / "scores.csv", [random_set(patch_scores=np.full((160, 4), np.nan))])
    assert {row["patch_1_1"] for row in rows} == {""}
