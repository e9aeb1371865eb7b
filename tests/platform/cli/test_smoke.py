"""`mimlab run --smoke` goes through everything and leaves nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from mimlab.probe.config import LinearProbe
from mimlab.search.shortened import MAX_FIT, PROBE_EPOCHS, STEPS
from mimlab.search.smoke import smoke
from mimlab.search.submission import plan_study, unfinished
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import submissions
from mimlab.storage.store import Store


def left(folder: Path) -> set[str]:
    """Everything below the storage, the built-in data set's files aside."""
    found = {path.relative_to(folder).as_posix() for path in (folder / "runs").rglob("*")}
    return {name for name in found if not name.startswith("runs/data/")}


def test_options_of_a_submission_are_refused(call) -> None:
    for option in ("--new", "--retry-failed"):
        said = call("run", "tiny.yaml", "--smoke", option)
        assert said.code == 2 and f"error: {option}: a smoke run is no submission" in said.err


def test_it_is_no_submission_and_no_trial_of_the_study(folder: Path) -> None:
    changes = ["sweep.seeds=[0, 1]", "train.budget={steps: 2}", "train.warmup_epochs=0"]
    loaded = load_study(folder / "tiny.yaml", overrides=changes)
    planned = plan_study(loaded)
    store = Store(folder / "runs")
    before = left(folder)
    with smoke(loaded) as under_way:
        made = under_way.driver.submission
        assert str(made.store.root).startswith(f"{store.root}/")
        assert submissions(store) == [] and unfinished(store, planned) is None
        records = made.trial_records()
        assert [record.point for record in records] == [
            {"masking.ratio": 0.5},
            {"masking.ratio": 0.75},
        ]
        assert [trial.trials for trial in under_way.trials()] == [2, 2]
        specs = [trial_spec(record.resolved) for record in records]
        assert {spec.train.budget.steps for spec in specs} == {STEPS}
        for probe in specs[0].probes:
            assert probe.max_fit == MAX_FIT
            assert getattr(probe, "epochs", PROBE_EPOCHS) == PROBE_EPOCHS
        assert "pending" in under_way.problem()
    assert left(folder) == before


def test_few_images_and_epochs_stay_as_few(folder: Path) -> None:
    probes = (
        "probes=[{name: knn, at: end, k: 2000}, {name: linear, at: end, max_fit: 9, epochs: 2}]"
    )
    with smoke(load_study(folder / "tiny.yaml", overrides=[probes])) as under_way:
        knn, linear = trial_spec(under_way.driver.submission.trial_records()[0].resolved).probes
    assert (knn.max_fit, linear.max_fit) == (2000, 9)
    assert isinstance(linear, LinearProbe) and linear.epochs == 2


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_whatever_happens(folder: Path, failure: type[BaseException]) -> None:
    loaded = load_study(folder / "tiny.yaml")
    plan_study(loaded)
    before = left(folder)
    with pytest.raises(failure), smoke(loaded):
        assert left(folder) != before
        raise failure
    assert left(folder) == before


@pytest.mark.slow
def test_each_shape_runs_and_the_study_s_own_mlflow_forgets_it(make_lab) -> None:
    lab = make_lab()
    uri = f"sqlite:///{lab.folder}/own/mlflow.db"
    (lab.folder / "own").mkdir()
    client = MlflowClient(tracking_uri=uri)
    client.create_experiment("another")
    said = lab.call("run", "tiny.yaml", "--smoke", "--set", f"tracking.uri={uri}")
    assert said.code == 0, said
    assert said.words.count("finished") == 2 and said.words.count("knn ran") == 2
    assert said.err == "" and said.noise == []
    assert left(lab.folder) == {"runs/data"}
    assert [
        found.name for found in client.search_experiments(filter_string="name LIKE 'tiny%'")
    ] == []
    (gone,) = client.search_experiments(ViewType.DELETED_ONLY)
    assert gone.name == "tiny smoke"
    runs = client.search_runs([gone.experiment_id], run_view_type=ViewType.ALL)
    assert len(runs) == 3 and {run.info.lifecycle_stage for run in runs} == {"deleted"}


@pytest.mark.slow
def test_a_trial_that_fails_is_told_and_leaves_nothing(make_lab) -> None:
    lab = make_lab()
    said = lab.call("run", "tiny.yaml", "--smoke", "--set", "train.optimizer.base_lr=1.0e+30")
    assert said.code == 1, said
    assert "error: masking.ratio=0.5: diverged: loss or gradient of step" in said.err
    assert "Traceback" not in said.err
    assert left(lab.folder) == {"runs/data"}


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(make_lab) -> None:
    lab = make_lab()
    running = lab.start("run", "tiny.yaml", "--smoke")
    statuses = ".smoke-*/trials/*/status.json"

    def started() -> bool:
        assert not running.ended_by_itself(), running.ended()
        return any(lab.store.root.glob(statuses))

    while not started():
        time.sleep(0.05)
    running.interrupt()
    said = running.ended()
    assert said.code == 1, said
    assert "everything that was written has been removed" in said.words
    assert "Traceback" not in said.err
    assert left(lab.folder) == {"runs/data"}
