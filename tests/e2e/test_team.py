"""A team's day: a study is submitted through the page, loses a machine, is stopped, resumed, forked
and compared. The tests stand in this order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

STUDY = """\
study: team
question: Does the day end well?
data: {images: digits, image_size: 16, augment: {crop_scale: [0.6, 1.0], flip: 0.0}}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 64, depth: 3, num_heads: 2}
objective: {name: mae, decoder_width: 32, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels, norm: patch}
masking: {name: random, ratio: 0.75}
train:
  budget: {steps: 1500}
  batch_size: 64
  optimizer: {base_lr: 3.0e-3}
  log_every: 20
  checkpoint: {every_epochs: 4, keep_last: 3}
probes:
  - {name: knn, every_epochs: 30, at: end}
sweep:
  axes: {masking.name: [random, block]}
  when: [{if: {masking.name: block}, axes: {masking.min_area: [2]}}]
resources: {cpus_per_worker: 1, concurrent_trials: 1}
"""


@pytest.fixture(scope="module")
def day() -> dict[str, str]:
    """What earlier tests have made, by what it is."""
    return {}


def test_a_study_is_submitted_through_the_page(
    team: Any, page: Page, picture: Callable[[str], None], day: dict[str, str], tmp_path: Path
) -> None:
    page.goto(f"{team.dashboard}/submit")
    file = tmp_path / "team.yaml"
    file.write_text(STUDY.replace("ratio: 0.75", "ratoi: 0.75"))
    chooser = page.locator("input[type=file]")
    chooser.set_input_files(file)
    expect(page.get_by_text("ratoi").last).to_be_visible()
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    picture("1-refused")
    file.write_text(STUDY)
    chooser.set_input_files(file)
    expect(page.get_by_text("team: sound, 2 trials")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/submissions/team-*")
    day["submission"] = page.url.rpartition("/")[2]


def test_its_curves_grow_while_one_watches(
    team: Any, page: Page, picture: Callable[[str], None], day: dict[str, str]
) -> None:
    page.goto(f"{team.dashboard}/submissions/{day['submission']}?tab=Curves")
    page.locator(".scatterlayer .trace").first.wait_for(timeout=300_000)
    picture("2-curves")
    day["trial"] = next(
        trial["id"] for trial in team.trials(day["submission"]) if trial["state"] == "running"
    )


def test_a_trial_outlives_its_node(
    team: Any, page: Page, picture: Callable[[str], None], day: dict[str, str]
) -> None:
    def step() -> int:
        found = {trial["id"]: trial for trial in team.trials(day["submission"])}
        return found[day["trial"]]["step"]

    team.wait(lambda: step() > 200 and bool(team.training_nodes()), "a worker on a node")
    (node,) = team.training_nodes()
    before = step()
    team.kill_node(node)
    team.wait(lambda: step() > before, "training went on elsewhere")
    page.goto(f"{team.dashboard}/trials/{day['trial']}")
    expect(page.locator(".state-running").first).to_be_visible()
    picture("3-went-on")


def test_it_is_stopped_and_resumed_from_its_page(
    team: Any, page: Page, picture: Callable[[str], None], day: dict[str, str]
) -> None:
    page.goto(f"{team.dashboard}/submissions/{day['submission']}")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    team.wait(
        lambda: not team.get(f"/submissions/{day['submission']}")["summary"]["driver_alive"],
        "the driver ended",
    )
    page.goto(f"{team.dashboard}/trials/{day['trial']}")
    expect(page.locator(".state-stopped").first).to_be_visible()
    picture("4-stopped")
    page.get_by_role("button", name="Resume").click()

    def finished() -> bool:
        states = {trial["id"]: trial["state"] for trial in team.trials(day["submission"])}
        return states[day["trial"]] == "finished"

    team.wait(finished, "the resumed trial finished")
    page.goto(f"{team.dashboard}/trials/{day['trial']}")
    expect(page.locator(".state-finished").first).to_be_visible()
    picture("5-finished")


def test_it_is_forked_from_its_page(
    team: Any, page: Page, picture: Callable[[str], None], day: dict[str, str]
) -> None:
    page.goto(f"{team.dashboard}/trials/{day['trial']}")
    page.get_by_role("button", name="Fork").click()
    editor = page.get_by_role("dialog").locator(".cm-content")
    editor.wait_for()
    detail = team.get(f"/submissions/{day['submission']}/trials/{day['trial']}")
    lines = detail["resolved_text"].replace("ratio: 0.75", "ratio: 0.6").splitlines(True)
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("".join(line for line in lines if not line.startswith("seed:")))
    expect(page.get_by_text("changes: masking.ratio=0.6")).to_be_visible()
    picture("6-fork")
    page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    page.wait_for_url(lambda url: "/submissions/" in url and day["submission"] not in url)
    day["fork"] = page.url.rpartition("/")[2]
    (trial,) = team.trials(day["fork"]) or [{}]
    assert trial["parent"] == day["trial"]


def test_mlflow_has_the_comparison_and_the_lineage(
    team: Any, page: Page, picture: Callable[[str], None], day: dict[str, str]
) -> None:
    team.wait(
        lambda: all(trial["state"] == "finished" for trial in team.trials(day["fork"])),
        "the fork finished",
    )
    link = team.get(f"/submissions/{day['submission']}/trials/{day['trial']}")["mlflow_link"]
    page.goto(link)
    expect(page.get_by_text("train/loss").first).to_be_visible()
    picture("7-mlflow-run")
    page.goto(team.get(f"/submissions/{day['submission']}")["mlflow_link"])
    compared = page.get_by_role("link", name="Maskings compared")
    compared.wait_for()
    picture("8-mlflow-experiment")
    page.goto(compared.evaluate("link => link.href"))
    page.locator(".js-plotly-plot").first.wait_for()
    for cell in ("random", "block"):
        expect(page.get_by_text(cell).first).to_be_visible()
    picture("9-mlflow-maskings")
    (fork,) = team.trials(day["fork"])
    page.goto(team.get(f"/submissions/{day['fork']}/trials/{fork['id']}")["mlflow_link"])
    expect(page.get_by_text(day["trial"]).first).to_be_visible()
    picture("10-mlflow-fork")
