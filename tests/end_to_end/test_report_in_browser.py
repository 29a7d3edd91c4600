"""report.html in headless Chromium: it shows what metrics.json says, at the widths of a desk and of a telephone."""

import io
import json
import os
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def report(small_evaluation, project):
    """A report of two sets of real scores, with its metrics.json."""
    output = small_evaluation / "for_the_browser"
    command = [sys.executable, str(project / "scripts" / "evaluate.py"), "--model", "model", "--output", output.name]
    command += ["--dataset", "captures:val_unseen", "captures:train", "--threshold-on", "captures:val_seen"]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [*command, "--resamples", "50"], cwd=small_evaluation, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return output / "report.html", json.loads((output / "metrics.json").read_text())


@pytest.fixture(params=WIDTHS)
def page(request, browser, report):
    """The report as opened from a disk; any request for more, and any complaint of the browser, fails the test."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    opened, trouble = context.new_page(), []
    opened.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or trouble.append(asked.url))
    opened.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.goto(report[0].as_uri())
    opened.wait_for_load_state("load")
    yield opened
    context.close()
    assert trouble == []


def percent(share: float | None) -> str:
    return "not defined" if share is None else f"{100 * share:.2f}"


def text_of(page, selector: str) -> str:
    return re.sub(r"\s+", " ", page.locator(selector).inner_text()).strip()


def test_shown_numbers_are_those_of_the_metrics_file(page, report):
    content = report[1]
    total = content["total"]
    for name in ("acer", "apcer", "bpcer"):
        assert text_of(page, f'[data-headline="{name}"]') == f"{percent(total['metrics'][name])} %"
        low, high = total["intervals"][name]
        assert text_of(page, f'[data-headline-interval="{name}"]') == f"{percent(low)} to {percent(high)}"
    for name, found in {**content["sets"], "total": total}.items():
        for key in ("acer", "apcer", "bpcer", "eer", "auc", "hter"):
            cell = text_of(page, f'[data-set="{name}"][data-metric="{key}"]')
            low, high = found["intervals"][key]
            assert cell == f"{percent(found['metrics'][key])} {percent(low)} to {percent(high)}"
        for kind, entry in found["attack_types"].items():
            cell = text_of(page, f'[data-set="{name}"][data-type="{kind}"]')
            assert cell == f"{percent(entry['apcer'])} {percent(entry['low'])} to {percent(entry['high'])}"
    rows = page.locator("#attack-types tbody tr").count()
    assert rows == sum(len(found["attack_types"]) for found in [*content["sets"].values(), total])
    text = text_of(page, "main")
    for value in (
        content["evaluated"]["command"],
        content["evaluated"]["model"]["weights_sha256"],
        *(data["fingerprint"] for data in content["evaluated"]["data"].values()),
        f"torch {content['evaluated']['versions']['torch']}",
        f"{content['operating_point']['threshold_log_odds']:.4f}",
        "chosen on captures:val_seen",
    ):
        assert value in text


def test_pictures_are_loaded_and_figures_have_a_size(page):
    images = page.locator("img").evaluate_all(
        "all => all.map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width, i.alt])"
    )
    assert len(images) == 32, "eight of each class of two sets"
    for complete, natural, shown, alternative in images:
        assert complete and natural > 0 and shown > 20 and alternative
    figures = page.locator(".drawing svg").evaluate_all(
        "all => all.map(s => [s.getBoundingClientRect().width, s.getBoundingClientRect().height, "
        "s.querySelectorAll('path').length, s.parentElement.getAttribute('aria-label')])"
    )
    assert len(figures) == 5
    for width, height, paths, label in figures:
        assert width > 250 and height > 80 and paths > 5 and label


def test_nothing_is_wider_than_the_page(page):
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # What scrolls by itself may be wider inside; everything else ends within the page.
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *')]
            .filter(e => !e.closest('.wide table') && !e.closest('svg'))
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    # Nor is text of a figure cut off by its border.
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.drawing svg')].flatMap(s => {
            const frame = s.getBoundingClientRect();
            return [...s.querySelectorAll('text')].filter(t => {
                const box = t.getBoundingClientRect();
                return box.left < frame.left - 2 || box.right > frame.right + 2
                    || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
            }).map(t => t.textContent);
        })"""
    )
    assert cut == []


def test_headings_and_tables_can_be_read_aloud(page):
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("html[lang]").count() == 1 and page.title().startswith("Evaluation of")


def test_a_screenshot_is_not_blank(page):
    taken = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    assert taken.shape[1] == page.viewport_size["width"] and taken.shape[0] > 1500
    assert len(np.unique(taken[::4, ::4].reshape(-1, 3), axis=0)) > 500
    # Each piece of the page, top to bottom, has something on it.
    for piece in np.array_split(taken, 8):
        assert piece.std() > 5
