"""A step that is run again is the step that was run, and tells where a number broke."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mimlab.data.segments import Place
from mimlab.errors import TrialError, UserError
from mimlab.search.ran import run_as
from mimlab.storage import lease
from mimlab.storage.folders import TrialFolder
from mimlab.storage.store import Store
from mimlab.train.divergence import divergences
from mimlab.train.replay import RunAs, replay
from mimlab.train.replay_files import write_replayed
from mimlab.train.replayed import Replayed
from mimlab.train.session import Session

DIVERGING = "train.optimizer.base_lr=1.0e+30"


def files_of(trial: TrialFolder) -> dict[str, bytes]:
    root = trial.store.scratch(trial.path)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def trained(folder: Path, create_tiny: Callable, *changes: str) -> tuple[Path, str]:
    """The storage and the id of a trial that trained in this process to its end."""
    made = create_tiny(folder, *changes)
    held = lease.acquire(made.submission)
    session = Session(made.worker(held.fence), made.trial, Place(), torch.device("cpu"))
    with contextlib.suppress(TrialError):
        session.run()
    return folder / "results", made.trial.id


@pytest.fixture(scope="module")
def finishing(
    tmp_path_factory: pytest.TempPathFactory, ray_local: None, create_tiny: Callable
) -> tuple[Path, str]:
    """24 steps, points at 5, 10, … and 24, checkpoints at 22 and 24."""
    return trained(tmp_path_factory.mktemp("finishing"), create_tiny)


@pytest.fixture(scope="module")
def diverging(
    tmp_path_factory: pytest.TempPathFactory, ray_local: None, create_tiny: Callable
) -> tuple[Path, str]:
    return trained(tmp_path_factory.mktemp("diverging"), create_tiny, DIVERGING)


def copy_of(made: tuple[Path, str], folder: Path) -> TrialFolder:
    storage, trial_id = made
    return TrialFolder(Store(shutil.copytree(storage, folder / "results")), trial_id)


@pytest.fixture
def finished(finishing: tuple[Path, str], tmp_path: Path) -> TrialFolder:
    """One's own copy of the finished trial."""
    return copy_of(finishing, tmp_path)


@pytest.fixture
def diverged(diverging: tuple[Path, str], tmp_path: Path) -> TrialFolder:
    """One's own copy of a trial that diverged."""
    return copy_of(diverging, tmp_path)


def replayed(trial: TrialFolder, step: int) -> Replayed:
    """A replay, which must leave the trial as it is."""
    before = files_of(trial)
    report, _ = replay(trial, step, run_as=run_as(trial))
    assert files_of(trial) == before
    return report


@pytest.mark.parametrize(
    ("step", "start", "points", "recorded"),
    [(0, 0, 0, "not recorded"), (9, 0, 2, "yes"), (17, 0, 3, "not recorded"), (23, 22, 1, "yes")],
)
def test_the_points_on_the_way_are_those_of_the_journal(
    finished: TrialFolder, step: int, start: int, points: int, recorded: str
) -> None:
    found = replayed(finished, step)
    assert (found.start_step, found.points, found.differing_points) == (start, points, [])
    assert found.recorded == recorded
    assert found.finite and found.first_not_finite is None and not found.bad_gradients
    assert found.largest[0].largest >= found.largest[-1].largest > 0


def test_a_step_is_the_same_from_wherever_it_is_replayed(finished: TrialFolder) -> None:
    near = replayed(finished, 23)
    for step in finished.steps("checkpoints"):
        finished.store.remove(finished.file(f"checkpoints/step_{step:09d}"))
    far = replayed(finished, 23)
    assert (near.start_step, far.start_step) == (22, 0)
    assert far.figures == near.figures and far.samples == near.samples


def test_a_journal_that_says_otherwise_is_noticed(finished: TrialFolder) -> None:
    folder = finished.file("journal")
    for name in finished.store.list(folder):
        lines = map(json.loads, finished.store.read(f"{folder}/{name}").splitlines())
        changed = [line | {"metrics": line["metrics"] | {"train/loss": 1.0}} for line in lines]
        text = "\n".join(map(json.dumps, changed))
        finished.store.write(f"{folder}/{name}", text.encode())
    found = replayed(finished, 9)
    assert (found.recorded, found.differing_points) == ("no", [5, 10])


def test_each_sample_has_its_own_loss_and_they_add_up(finished: TrialFolder) -> None:
    found = replayed(finished, 3)
    losses = [sample.loss for sample in found.samples if sample.loss is not None]
    assert len(losses) == 100 and len({sample.id for sample in found.samples}) == 100
    # Every sample has as many hidden patches as any other.
    assert np.mean(losses) == pytest.approx(found.figures["loss"], rel=1e-5)


def test_a_diverged_step_is_reproduced_and_the_module_named(diverged: TrialFolder) -> None:
    (record,) = divergences(diverged)
    found = replayed(diverged, record.step)
    assert not found.finite and found.recorded == "yes"
    assert [sample.id for sample in found.samples] == record.ids
    assert [s.id for s in found.samples if not s.finite] == record.not_finite
    assert found.first_not_finite is not None or found.bad_gradients


def test_a_step_after_a_bad_one_is_not_looked_into(diverged: TrialFolder) -> None:
    (record,) = divergences(diverged)
    with pytest.raises(UserError) as caught:
        replayed(diverged, record.step + 1)
    assert f"replay that one: --step {record.step}" in str(caught.value)


@pytest.mark.parametrize("step", [-1, 24, 10_000])
def test_a_step_that_the_trial_has_not_is_refused(finished: TrialFolder, step: int) -> None:
    with pytest.raises(UserError, match=rf"--step {step}: .* has the steps 0 to 23"):
        replayed(finished, step)


def test_another_code_is_told(finished: TrialFolder) -> None:
    # The session of a test calls its own code "code".
    assert replayed(finished, 22).same_code is False
    same = RunAs(run_as(finished).spec, torch.device("cpu"), cpus=1.0, code_fingerprint="code")
    assert replay(finished, 22, run_as=same)[0].same_code is True
    assert replay(finished, 3, run_as=same)[0].same_code is None


def test_a_torn_checkpoint_is_passed_over(finished: TrialFolder) -> None:
    state = finished.store.scratch(finished.file("checkpoints/step_000000022/state.pt"))
    state.write_bytes(b"torn")
    assert replayed(finished, 22).start_step == 0


def test_the_batch_is_written_as_pictures(finished: TrialFolder, tmp_path: Path) -> None:
    report, calls = replay(finished, 20, run_as=run_as(finished))
    out = write_replayed(tmp_path / "step", report, calls)
    assert Replayed.model_validate_json((out / "step.json").read_bytes()) == report
    assert len(list(out.iterdir())) == 1 + 2 * 100
    for place, sample in enumerate(report.samples[:5]):
        image = cv2.imread(str(out / f"{place:05d}-{sample.id}.png"))
        mask = cv2.imread(str(out / f"{place:05d}-{sample.id}-hidden.png"))
        assert image is not None and mask is not None
        assert image.shape == mask.shape == (16, 16, 3)
        assert set(np.unique(mask)) == {0, 255} and (mask == 255).mean() == 0.75
    with pytest.raises(UserError, match="exists already"):
        write_replayed(out, report, calls)
