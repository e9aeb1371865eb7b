"""The HTML report: whole, self-contained, and honest about what it shows."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from mimlab.compare.cells import cells_of
from mimlab.compare.report import POLICY, report_of
from mimlab.compare.style import Style
from mimlab.compare.trials import read_trials
from mimlab.storage.folders import SubmissionFolder

KNN, LINEAR = "probe/knn/top1", "probe/linear/top1"
CHROMIUM = shutil.which("chromium")


def page_of(submission: SubmissionFolder) -> str:
    return report_of(submission, read_trials(submission))


def fill(study) -> None:
    """Two maskings × two ratios × two learning rates × two seeds, finished."""
    for name, shift in (("random", 0.0), ("block", 0.1)):
        for ratio in (0.5, 0.75):
            for lr in (0.1, 0.2):
                for seed in (0, 1):
                    trial = study.trial(name, ratio, seed, axes={"train.base_lr": lr})
                    study.journal(trial, [1.0, 0.5, 0.25])
                    for step in (10, 20, 30):
                        score = 0.3 + shift + ratio / 10 + lr / 5 + 0.02 * seed + step / 1000
                        study.probe(trial, step, KNN, score)
                    study.probe(trial, 30, LINEAR, 0.9)
                    study.board(trial, (200, 30, int(100 * shift)))
    for label, score in (("random-init", 0.2), ("raw-pixels", 0.95)):
        study.baseline(label, KNN, score)


def own_part(page: str) -> str:
    """The page without the library in it."""
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


def figures(page: str) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    return [json.loads(one) for one in found]


def heat_maps(page: str) -> list[dict[str, Any]]:
    traces = [trace for figure in figures(page) for trace in figure["data"]]
    return [trace for trace in traces if trace["type"] == "heatmap"]


def test_nothing_is_fetched_from_anywhere(study) -> None:
    fill(study)
    page = own_part(page_of(study.submission()))
    assert not re.search(r"(?i)https?:|@import|<link|<iframe|<base", page)
    assert set(re.findall(r'\bsrc="(\w+:)', page)) == {"data:"}
    # Whatever the library may try, the page forbids it.
    assert POLICY in page and "default-src 'none'" in POLICY and "http" not in POLICY


def test_a_cell_is_the_mean_over_seeds_and_other_axes_have_their_own_map(study) -> None:
    fill(study)
    page = page_of(study.submission())
    maps = heat_maps(page)
    # Two learning rates, two probes.
    assert len(maps) == 4
    knn = maps[0]
    assert (list(knn["x"]), list(knn["y"])) == (["0.5", "0.75"], ["random", "block"])
    expected = [
        [100 * (0.3 + shift + ratio / 10 + 0.1 / 5 + 0.01 + 0.03) for ratio in (0.5, 0.75)]
        for shift in (0.0, 0.1)
    ]
    for row, wanted in zip(knn["z"], expected, strict=True):
        assert row == pytest.approx(wanted)
    assert "<summary>base_lr=0.1</summary>" in page and "<summary>base_lr=0.2</summary>" in page
    assert {(one["zmin"], one["zmax"]) for one in maps[::2]} == {(knn["zmin"], knn["zmax"])}
    hover = knn["customdata"][0][0]
    assert "n = 2 seeds" in hover and "ratio asked 0.5, realised 0.5625" in hover


def test_a_point_that_was_excluded_is_an_empty_cell(study) -> None:
    study.probe(study.trial("random", 0.5), 10, KNN, 0.5)
    study.probe(study.trial("block", 0.75), 10, KNN, 0.6)
    (found,) = heat_maps(page_of(study.submission()))
    assert found["z"] == [[50.0, None], [None, 60.0]]


def test_losses_of_different_maskings_are_in_panels_of_their_own(study) -> None:
    fill(study)
    page = page_of(study.submission())
    assert "nothing is ranked by loss" in page
    (losses,) = (f for f in figures(page) if "updatemenus" in f["layout"])
    titles = [note["text"] for note in losses["layout"]["annotations"]]
    assert titles == ["random · 0.5", "random · 0.75", "block · 0.5", "block · 0.75"]
    assert len({trace["xaxis"] for trace in losses["data"]}) == 4
    labels = [button["label"] for button in losses["layout"]["updatemenus"][0]["buttons"]]
    assert labels == ["images", "visible tokens", "CPU minutes"]


def test_objectives_and_targets_are_kept_apart_by_loss(study) -> None:
    for target in ("pixels", "hog"):
        trial = study.trial(
            axes={"target.name": target}, resolved={"target": {"name": target, "norm": "patch"}}
        )
        study.journal(trial, [1.0])
    (losses,) = (f for f in figures(page_of(study.submission())) if "updatemenus" in f["layout"])
    titles = [note["text"] for note in losses["layout"]["annotations"]]
    assert titles == ["random · 0.5 · target=pixels", "random · 0.5 · target=hog"]


def test_a_probe_s_curve_stands_at_what_the_trial_had_spent(study) -> None:
    trial = study.trial(ratio=0.75)
    study.journal(trial, [1.0] * 3)
    for step, score in ((10, 0.25), (25, 0.5)):
        study.probe(trial, step, KNN, score)
    _, _, curves, _ = figures(page_of(study.submission()))
    images, tokens, time = (trace for trace in curves["data"] if trace["mode"] == "lines+markers")
    assert images["y"] == [25.0, 50.0]
    assert images["x"] == [640.0, 1600.0]
    assert tokens["x"] == [640.0 * 16 * 0.25, 1600.0 * 16 * 0.25]
    # Six cores, a second for each 640 images.
    assert time["x"] == pytest.approx([6 / 60, 15 / 60])


def test_a_masking_has_one_colour_everywhere(study) -> None:
    fill(study)
    submission = study.submission()
    page = page_of(submission)
    cells = cells_of(read_trials(submission))
    style = Style(cells)
    colours = {cell.variant: style.colour(cell) for cell in cells}
    assert len(set(colours.values())) == 2
    used = {
        trace["line"]["color"]
        for figure in figures(page)
        for trace in figure["data"]
        if trace.get("mode") == "lines+markers"
    }
    assert used == set(colours.values())
    assert set(re.findall(r"background:(#\w+)", own_part(page))) == set(colours.values())


def test_what_a_study_cannot_say_is_said(study) -> None:
    for name, score in (("random", 0.5), ("block", 0.4)):
        trial = study.trial(name)
        study.journal(trial, [1.0, 1.0])
        study.probe(trial, 10, KNN, 0.4)
        study.probe(trial, 20, KNN, score)
    study.baseline("raw-pixels", KNN, 0.6)
    study.baseline("random-init", KNN, 0.45)
    page = own_part(page_of(study.submission()))
    assert "Raw pixels beat every encoder by knn top-1 (60.00 %)." in page
    assert "A random-initialised encoder beats 1 of 2 encoders by knn top-1 (45.00 %)." in page
    assert "Every point has one seed" in page
    assert "no interval can be given" in page
    assert "Only 2 trials to rank" in page and "too few to say" in page
    assert "compared at equal images (1,280 each)" in page


def test_boards_stand_under_one_another_below_their_common_input(study) -> None:
    fill(study)
    page = page_of(study.submission())
    assert page.count('alt="inputs"') == 1
    assert page.count('alt="masked and predicted') == 16
    assert page.count('src="data:image/webp;base64,') == 17


def test_text_of_the_study_is_no_markup(study) -> None:
    nasty = "</script><script>alert(1)</script>"
    trial = study.trial("random", 0.5, axes={"data.classes": nasty})
    study.trial("random", 0.5, axes={"data.classes": "cat"})
    study.journal(trial, [1.0])
    study.probe(trial, 10, KNN, 0.5)
    study.board(trial, (0, 0, 0))
    page = own_part(page_of(study.submission(f"Is {nasty} & <b> harmless?")))
    assert "<script>alert" not in page and "<b> harmless" not in page
    assert "&lt;b&gt; harmless?" in page
    assert figures(page)


@pytest.mark.parametrize("state", ["pending", "running", "failed"])
def test_a_study_without_any_result_has_a_report_of_what_there_is(study, state) -> None:
    study.trial(state=state)
    page = own_part(page_of(study.submission()))
    assert f"Trials so far: 1 {state}." in page
    assert "No probe has given a score yet." in page
    assert "No trial has logged a step yet." in page
    assert "No board has been drawn yet." in page
    assert figures(page) == []


def test_a_diverged_trial_does_not_break_the_page(study) -> None:
    trial = study.trial(state="diverged")
    study.journal(trial, [1.0, float("inf"), float("nan")])
    (losses,) = figures(page_of(study.submission()))
    assert losses["data"][0]["y"] == [1.0, None, None]


def test_a_board_that_is_no_picture_is_left_out(study) -> None:
    trial = study.trial()
    study.store.write(trial.file("boards/000000010.png"), b"half a pict")
    assert "No board has been drawn yet." in page_of(study.submission())


def test_a_probe_that_only_an_unfinished_trial_has_breaks_nothing(study) -> None:
    study.probe(study.trial("random"), 10, KNN, 0.5)
    running = study.trial("block", state="running")
    study.probe(running, 10, KNN, 0.9)
    study.probe(running, 10, LINEAR, 0.9)
    done = study.trial("block", seed=1)
    study.probe(done, 10, KNN, 0.4)
    page = own_part(page_of(study.submission()))
    assert "Best by knn top-1: random · 0.5 (50.00 %)." in page
    assert "Best by linear" not in page


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_draws_every_figure_and_asks_for_nothing(study, tmp_path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    fill(study)
    page = page_of(study.submission())
    file = tmp_path / "report.html"
    file.write_text(page)
    with sync_api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(file.as_uri())
        tab.wait_for_selector(".figure .main-svg")
        drawn = tab.locator(".figure[data-drawn]").count()
        losses = tab.locator(".figure:has(.updatemenu-button)")
        losses.locator(".updatemenu-button").nth(1).click()
        losses.locator(".xtitle", has_text="visible tokens").wait_for()
        browser.close()
    assert drawn == len(figures(page))
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert wrong == []
