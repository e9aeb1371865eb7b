"""The views in which MLflow opens a study."""

from __future__ import annotations

import base64
import json
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import TrialsRecord
from mimlab.track import tags
from mimlab.track.comparison_view import (
    ALL_SHOWN,
    MASKINGS,
    TRIALS,
    Compared,
    compared,
    maskings_view,
    trials_view,
)
from mimlab.track.shared_view import MARK, PREFIX, link, tag_of

AXES = ("masking.name", "masking.ratio")
WHAT = Compared("s-1", AXES, AXES, ("probe/knn/top1",), 8)
names = st.lists(st.text(st.characters(codec="ascii"), max_size=40), max_size=6).map(tuple)


def state_of(tag: str) -> dict:
    """As the page reads it."""
    packed = json.loads(tag)["state"]
    assert packed.startswith(MARK)
    return json.loads(zlib.decompress(base64.b64decode(packed.removeprefix(MARK))))


def test_a_view_comes_back_as_the_page_reads_it() -> None:
    tag = tag_of("Maskings compared", created_ms=5, state=maskings_view(WHAT))
    assert json.loads(tag)["name"] == "Maskings compared"
    assert json.loads(tag)["createdAt"] == 5
    state = state_of(tag)
    assert state["searchFilter"] == "tags.`mimlab.submission` LIKE '%s-1%'"
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": tags.CELL}]
    assert {"type": "BAR", "metricKey": "probe/knn/top1"}.items() <= state["compareRunCharts"][
        0
    ].items()


@given(axes=names, probes=names, trials=st.integers(0, 10**6))
def test_every_chart_stands_in_a_section_and_the_tag_fits(
    axes: tuple[str, ...], probes: tuple[str, ...], trials: int
) -> None:
    what = Compared("s-1", axes, axes, probes, trials)
    for make in (maskings_view, trials_view):
        tag = tag_of("x", created_ms=0, state=make(what))
        state = state_of(tag)
        sections = {section["uuid"] for section in state["compareRunSections"]}
        assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections
        assert len(tag) < 5000


def test_many_trials_are_not_all_drawn() -> None:
    few, many = (Compared("s", (), (), (), count) for count in (ALL_SHOWN, ALL_SHOWN + 1))
    assert trials_view(few).runs_hidden_mode == "SHOW_ALL"
    assert trials_view(many).runs_hidden_mode == "FIRST_20_RUNS"


def test_what_varies_and_what_is_probed_become_columns(lab) -> None:
    submission = lab.submission(trials=2)
    what = compared(submission, lab.trials(submission))
    assert what.axes == ("masking.name", "masking.ratio")
    assert what.probes == ("probe/knn/top1",)
    columns = trials_view(what).selected_columns
    assert columns[:3] == (
        "params.`masking.name`",
        "params.`masking.ratio`",
        "metrics.`probe/knn/top1`",
    )


def test_an_axis_that_some_trials_lack_hides_none_of_them(lab) -> None:
    submission = lab.submission(trials=2)
    random, block = lab.trials(submission)
    extra = {"masking.min_area": 2}, {"masking.min_area": "2"}
    update = {"point": block.point | extra[0], "identity": block.identity | extra[1]}
    what = compared(submission, [random, block.model_copy(update=update)])
    assert what.axes == (*AXES, "masking.min_area")
    assert what.shared_axes == AXES


def test_the_boards_begin_where_every_trial_has_one(lab) -> None:
    submission = lab.submission(trials=3)
    trials = lab.trials(submission)
    for boards, step in (
        ([{10, 20}, {10}, set()], 10),
        ([{10}, {20}, set()], 20),
        ([set(), set(), set()], 0),
    ):
        assert compared(submission, trials, boards).board_step == step


def test_the_address_of_a_view_has_nothing_that_would_hide_it() -> None:
    for charts in (True, False):
        address = link("7", TRIALS, charts=charts)
        assert address.startswith("#/experiments/7/runs?viewStateShareKey=mimlab-trials&")
        facets = {"searchFilter", "orderByKey", "orderByAsc", "startTime", "lifecycleFilter"}
        assert not facets & parse_qs(urlsplit(address[1:]).query).keys()


def test_the_experiment_gets_its_views_once(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    view, trials = lab.opened(trials=2)
    experiment = lab.client.get_experiment(lab.run(trials[0]).info.experiment_id)
    for key in (MASKINGS, TRIALS):
        assert lab.study in state_of(experiment.tags[PREFIX + key])["searchFilter"]
    assert experiment.tags[tags.PRIMARY_METRIC] == "probe/knn/top1"
    written: list[str] = []
    monkeypatch.setattr(
        "mlflow.MlflowClient.set_experiment_tag", lambda _, __, key, ___: written.append(key)
    )
    lab.points(trials[0], 3)
    lab.status(trials[0], "running")
    view.sync()
    lab.opened(trials=2)
    assert written == []


def test_a_fork_of_one_trial_leaves_the_comparison_there(lab) -> None:
    _, trials = lab.opened(trials=2)
    experiment = lab.run(trials[0]).info.experiment_id
    before = lab.client.get_experiment(experiment).tags
    assert f"{lab.study}-first" in before[tags.NOTE]
    fork = lab.submission(name="fork").model_copy(update={"trial_ids": [f"{lab.study}-f0"]})
    record = lab.trials(fork)[0].model_copy(update={"parent": trials[0].id})
    folder = SubmissionFolder(lab.store, fork.id)
    lab.store.write_record(folder.file("submission.json"), fork)
    lab.store.write_record(folder.file("trials.json"), TrialsRecord(trials=[record]))
    trial = TrialFolder(lab.store, record.id)
    lab.store.write_record(trial.file("trial.json"), record)
    view = lab.view(fork, [record])
    assert view.close(60.0), view.last_error
    assert lab.run(trial).info.experiment_id == experiment
    assert lab.client.get_experiment(experiment).tags == before


def test_trials_that_differ_by_their_seed_alone_have_one_name(lab) -> None:
    _, trials = lab.opened(trials=4)
    cells = [lab.run(trial).data.tags[tags.CELL] for trial in trials]
    assert cells == ["random 0.75", "block 0.75", "random 0.75", "block 0.75"]


def test_the_dashboard_is_linked_and_remembered(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMLAB_DASHBOARD_URL", "https://lab.example/")
    _, [trial] = lab.opened()
    parent = lab.run(SubmissionFolder(lab.store, f"{lab.study}-first"))
    address = f"https://lab.example/submissions/{lab.study}-first"
    assert f"({address})" in parent.data.tags[tags.NOTE]
    own = f"https://lab.example/trials/{trial.id}?submission={lab.study}-first"
    assert f"({own})" in lab.run(trial).data.tags[tags.NOTE]
    monkeypatch.delenv("MIMLAB_DASHBOARD_URL")
    lab.opened()
    note = lab.client.get_experiment(parent.info.experiment_id).tags[tags.NOTE]
    assert f"({address})" in note


def test_a_note_that_somebody_wrote_on_a_trial_stays(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    _, [trial] = lab.opened()
    lab.client.set_tag(lab.run(trial).info.run_id, tags.NOTE, "The one with the odd loss.")
    monkeypatch.setenv("MIMLAB_DASHBOARD_URL", "https://lab.example")
    lab.opened()
    assert lab.run(trial).data.tags[tags.NOTE] == "The one with the odd loss."
