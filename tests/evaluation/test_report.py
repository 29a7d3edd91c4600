"""report.html of scored sets, as text; how it looks is for tests/end_to_end/test_report_in_browser.py."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import datasets
import numpy as np
import pytest
from PIL import Image

from patchnet_hf import PatchNetConfig, PatchNetImageProcessor
from patchnet_hf.data.schema import capture_features
from patchnet_hf.errors import InputError
from patchnet_hf.evaluation.job import Evaluation
from patchnet_hf.evaluation.metrics_file import as_json
from patchnet_hf.evaluation.numbers import IntervalSettings, set_numbers
from patchnet_hf.evaluation.operating_point import OperatingPoint, choose_operating_point
from patchnet_hf.evaluation.output import check_output, write_evaluation
from patchnet_hf.evaluation.presentations import Presentations
from patchnet_hf.evaluation.report import point_sentence
from patchnet_hf.evaluation.sets import EvaluationData
from patchnet_hf.evaluation.settings import EvaluationSettings
from patchnet_hf.evaluation.tables import evaluation_text
from patchnet_hf.evaluation.thumbnails import worst_images

PROCESSOR = PatchNetImageProcessor(patch_size=32, grid=2)


class NoScorer:
    """What the files of an evaluation say of a model, whose scores are given here."""

    name = "<b>model</b>"
    config = PatchNetConfig(
        backbone="resnet18", patch_types=["phone/live", "phone/print"], live_patch_types=["phone/live"]
    )
    processor = PROCESSOR

    def description(self):
        return {"model": self.name, "runs_on": "PyTorch", "weights_sha256": "0" * 64}


def dataset_of(scored) -> datasets.Dataset:
    """Pictures of one grey each, which says the position; every fourth has a face box."""
    images, boxes = [], []
    for index in range(len(scored)):
        pixels = np.full((60, 80, 3), index, dtype=np.uint8)
        boxes.append([20, 10, 40, 40] if index % 4 == 0 else None)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        images.append({"bytes": stream.getvalue(), "path": scored.files[index]})
    columns = {
        "image": images,
        "label": scored.labels,
        "attack_type": scored.attack_types,
        "face_box": boxes,
        **{name: scored.columns[name] for name in ("source", "subject", "session", "video", "device")},
        "patch_type": [0] * len(scored),
    }
    return datasets.Dataset.from_dict(columns, features=capture_features(["phone/live"]))


def evaluation_of(*sets, level="image", point=None, thumbnails=3) -> Evaluation:
    point = point or OperatingPoint.fixed(0.6, "given")
    intervals = IntervalSettings(resamples=20)
    parts = {scored.name: Presentations.of(scored, level) for scored in sets}
    pooled = Presentations.pooled(list(parts.values()), "total")
    return Evaluation(
        point,
        {name: set_numbers(part, point, intervals) for name, part in parts.items()},
        set_numbers(pooled, point, intervals),
        {scored.name: scored for scored in sets},
        parts,
        pooled,
        EvaluationData({of.name: dataset_of(of) for of in sets}, {of.name: f"data:{of.name}" for of in sets}),
        EvaluationSettings(level=level, intervals=intervals, thumbnails=thumbnails),
        NoScorer(),
        "python scripts/evaluate.py --model '<b>model</b>'",
        "2026-01-01T00:00:00Z",
    )


class Page(HTMLParser):
    """Elements, texts and addresses of a page; complains of what isn't closed."""

    VOID = {"meta", "img", "br", "path", "use", "rect", "circle", "line", "stop", "link"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.addresses, self.ids, self.texts = [], [], [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def written(folder, evaluation):
    write_evaluation(evaluation, folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    return Page(text), text


def test_a_report_needs_nothing_but_itself(random_set, tmp_path):
    page, text = written(tmp_path / "out", evaluation_of(random_set("one"), random_set("two", seed=1)))
    assert page.addresses and all(re.match(r"#|data:image/jpeg;base64,", address) for address in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags and "url(http" not in text and "@import" not in text
    assert len(page.ids) == len(set(page.ids)), "figures don't share ids"
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert page.tags.count("svg") == 5 and page.tags.count("img") == 12


def test_names_from_outside_are_text_and_not_markup(random_set, tmp_path):
    evil = "<script>alert(1)</script>.jpg"
    scored = random_set("<i>val</i>", files=[evil] * 160, types=("<script>x</script>", "<b>"))
    evaluation = evaluation_of(scored)
    page, text = written(tmp_path / "out", evaluation)
    assert "script" not in page.tags and "i" not in page.tags
    assert "<script" not in text.lower()
    shown = "".join(page.texts)
    for name in (evil, "<i>val</i>", "<script>x</script>", "--model '<b>model</b>'"):
        assert name in shown


def test_names_in_any_script_and_of_any_length_are_drawn_without_a_word(random_set, tmp_path, recwarn):
    scored = random_set(types=("マスク 面具", "$\\frac{$", "x" * 120))
    page, _ = written(tmp_path / "out", evaluation_of(scored))
    assert not [str(warning.message) for warning in recwarn if issubclass(warning.category, UserWarning)]
    texts = [text.strip() for text in page.texts]
    assert texts.count("マスク 面具") >= 3 and texts.count("x" * 10 + "…" + "x" * 10) == 2


def test_metrics_file_is_json_of_all_numbers_with_null_for_what_is_undefined(random_set, tmp_path):
    live = random_set("live", labels=np.ones(160, dtype=np.int64), attack_types=["bonafide"] * 160)
    evaluation = evaluation_of(live, random_set("val", seed=1))
    page, _ = written(tmp_path / "out", evaluation)
    content = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert content == as_json(evaluation)
    assert content["sets"]["live"]["metrics"]["acer"] is None and content["sets"]["live"]["attack_types"] == {}
    assert content["sets"]["val"]["metrics"]["acer"] == evaluation.sets["val"].metrics["acer"]
    assert content["total"]["counts"]["images"] == 320
    assert content["operating_point"]["threshold"] == 0.6
    assert content["evaluated"]["data"]["val"] == {
        "dataset": "data:val", "fingerprint": f"{1:016x}", "images": 160, "subjects": 20, "videos": 80,
        "devices": ["phone"], "sources": ["mine"],
    }  # fmt: skip
    assert "not defined" in "".join(page.texts) and "live: no attacks (label 0)" in "".join(page.texts)
    assert str(tmp_path) not in (tmp_path / "out" / "metrics.json").read_text()


@pytest.mark.parametrize("label", [0, 1])
def test_a_set_of_one_class_has_a_report_and_a_table(random_set, tmp_path, label):
    one = random_set(labels=np.full(160, label), attack_types=["bonafide" if label else "print"] * 160)
    evaluation = evaluation_of(one)
    page, _ = written(tmp_path / "out", evaluation)
    assert "not defined" in "".join(page.texts)
    table = evaluation_text(evaluation.shown, evaluation.point, evaluation.settings)
    assert "note: val: no " in table and table.splitlines()[2].split()[2] == "-"


def test_the_table_has_hter_where_the_threshold_is_from_elsewhere(random_set):
    development = Presentations.of(random_set("dev", seed=5))
    chosen = choose_operating_point(development, "eer", "data:dev", "")
    sets = random_set("one"), random_set("two", seed=1)
    for point, there in ((chosen, True), (OperatingPoint.fixed(0.6, "given"), False)):
        evaluation = evaluation_of(*sets, point=point)
        text = evaluation_text(evaluation.shown, point, evaluation.settings)
        header, _, *rows = text.splitlines()
        assert ("HTER %" in header) is there
        assert [row.split()[0] for row in rows[:3]] == ["one", "two", "total"]
        cells = dict(zip(re.split(r"\s{2,}", header), rows[0].split(), strict=True))
        assert cells["ACER %"] == f"{100 * evaluation.sets['one'].metrics['acer']:.2f}"
        low, high = evaluation.sets["one"].intervals["apcer"]
        assert f"[{100 * low:.2f}, {100 * high:.2f}]" in text


def test_many_attack_types_have_a_table_of_their_own_and_names_keep_to_a_line(random_set):
    kinds = tuple(f"mask {number}\nof {'silicone ' * 9}" for number in range(10))
    evaluation = evaluation_of(random_set("one", types=kinds), random_set("two", seed=1))
    lines = evaluation_text(evaluation.shown, evaluation.point, evaluation.settings).splitlines()
    assert max(map(len, lines)) < 140
    header = next(line for line in lines if line.startswith("attack type"))
    rows = lines[lines.index(header) + 2 :][: 2 * 10 + 2 * 2]
    assert sum(row.startswith("mask ") for row in rows) == 20
    found = evaluation.sets["two"].attack_types["print"]
    row = next(row for row in rows if re.match(r"print +two ", row)).split()
    assert row[2:5] == [str(found.accepted), str(found.attacks), f"{100 * found.apcer:.2f}"]
    few = evaluation_of(random_set(types=("new\nline",)))
    header = evaluation_text(few.shown, few.point, few.settings).splitlines()[0]
    assert header.endswith("APCER new line %")


def test_the_worst_images_are_those_and_show_what_the_model_saw(random_set):
    scored = random_set()
    dataset, images, point = dataset_of(scored), Presentations.of(scored), OperatingPoint.fixed(0.5, "given")
    for label, direction in ((0, -1), (1, 1)):
        found = worst_images(images, scored, dataset, PROCESSOR, point, label, 5)
        of_class = np.flatnonzero(scored.labels == label)
        expected = sorted(of_class, key=lambda index: direction * scored.scores[index])[:5]
        assert [thumb.log_odds for thumb in found] == scored.scores[expected].tolist()
        assert [thumb.file for thumb in found] == [scored.files[index] for index in expected]
        for thumb, index in zip(found, expected, strict=True):
            assert thumb.accepted == (scored.scores[index] >= 0) and thumb.is_error == (thumb.accepted != bool(label))
            picture = Image.open(io.BytesIO(base64.b64decode(thumb.source.split(",")[1])))
            assert picture.size == (thumb.width, thumb.height) == ((52, 52) if index % 4 == 0 else (80, 60))
            assert abs(np.asarray(picture).mean() - index) < 3


def test_of_a_clip_its_worst_frame_is_shown(random_set):
    scored = random_set()
    clips = Presentations.of(scored, "clip")
    (thumb,) = worst_images(clips, scored, dataset_of(scored), PROCESSOR, OperatingPoint.fixed(0.5, "given"), 0, 1)
    clip = max(np.flatnonzero(clips.labels == 0), key=lambda index: clips.scores[index])
    assert thumb.log_odds == clips.scores[clip]
    frame = scored.files.index(thumb.file)
    assert clips.of_image[frame] == clip and scored.scores[frame] == scored.scores[clips.of_image == clip].max()


def test_how_the_threshold_came_about_is_said_in_words(random_set):
    development = Presentations.of(random_set("dev"))
    sentences = [point_sentence(OperatingPoint.fixed(0.5, "model"))]
    for criterion in ("eer", "apcer=0.05", "bpcer=0.01"):
        evaluation = evaluation_of(random_set("val", seed=3), point=None)
        point = choose_operating_point(development, criterion, "data:dev", "")
        point = point.__class__(**{**point.__dict__, "metrics": evaluation.total.metrics})
        sentences.append(point_sentence(point))
    assert "the model's own" in sentences[0] and "nearest to each other" in sentences[1]
    assert "at most 5 %" in sentences[2] and "at most 1 %" in sentences[3]
    assert all("chosen on data:dev" in sentence for sentence in sentences[1:])


def test_only_an_earlier_evaluation_is_overwritten_and_only_when_asked(random_set, tmp_path):
    evaluation, folder = evaluation_of(random_set(), thumbnails=0), tmp_path / "out"
    folder.mkdir()
    write_evaluation(evaluation, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "report.html", "scores.csv"]
    with pytest.raises(InputError, match="--overwrite"):
        check_output(folder)
    write_evaluation(evaluation, folder, overwrite=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt, which overwriting would delete"):
        write_evaluation(evaluation, folder, overwrite=True)
    assert (folder / "notes.txt").exists()
    training = tmp_path / "training"
    training.mkdir()
    (training / "metrics.json").write_text('{"eval_total_acer": 0.1}')
    (tmp_path / "file").write_text("")
    for output, message in (
        (training, "holds no evaluation"),
        (tmp_path / "file", "a file"),
        (tmp_path / "file" / "x", "a file"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(output, overwrite=True)
    check_output(tmp_path / "new" / "folder")
