"""`mimlab gc` as a user calls it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mimlab.cli.main import app
from mimlab.errors import UserError
from mimlab.retention.holds import Holds
from mimlab.retention.inventory import Inventory, take_inventory
from mimlab.retention.rules import Kind
from mimlab.retention.snapshot import COMMITTED_BY
from mimlab.storage import holding, lease
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.forks import announce
from mimlab.storage.machine import machine
from mimlab.storage.records import LeaseRecord
from mimlab.storage.weights import keep_weights
from mimlab.train.checkpoint import read_checkpoint
from mimlab.train.export import read_card, weights_of

STEPS = (7, 15, 24)


@pytest.fixture
def run(a_run: Callable):
    """A finished trial, all probed."""
    made = a_run(*STEPS)
    made.probed(*STEPS, top1=(0.1, 0.3, 0.2))
    made.is_in("finished")
    return made


def gc(run, *options: str, answer: str | None = None, code: int = 0) -> str:
    """What it says, in one line."""
    arguments = ["gc", "--storage", str(run.store.root), *options]
    found = CliRunner().invoke(app, arguments, input=answer, env={"COLUMNS": "200"})
    assert found.exit_code == code, (found.output, found.exception)
    return " ".join(found.output.split())


def files(run) -> dict[str, bytes]:
    return {path: run.store.read(path) for path in run.store.sizes("")}


def age(path: Path) -> Path:
    """As old as what nobody is writing any more."""
    then = time.time() - 7200
    os.utime(path, (then, then))
    return path


def age_all(run) -> None:
    for path in Path(run.store.root).rglob("*"):
        if path.is_file():
            age(path)


def test_a_dry_run_says_what_goes_and_stays_and_changes_nothing(run) -> None:
    before = files(run)
    said = gc(run, "--dry-run")
    assert f"trial {run.trial.id} checkpoints 7, 15" in said
    assert "older checkpoint of a trial that is finished" in said
    assert "an extension or a fork goes on from it" in said and "a best encoder" in said
    assert files(run) == before


def test_nothing_is_removed_without_a_yes(run) -> None:
    gc(run, answer="n\n", code=1)
    assert run.steps() == (list(STEPS), list(STEPS))


def test_what_may_go_goes_and_a_second_call_finds_nothing(run) -> None:
    said = gc(run, run.submission.id, answer="y\n")
    assert "Remove " in said and "removed " in said
    assert run.steps() == ([24], list(STEPS))
    assert gc(run, "--exports", "--yes")
    assert run.steps() == ([24], [15, 24])
    assert "nothing may go" in gc(run, "--yes")
    assert lease.current(run.store, run.submission.id).released  # pyright: ignore  held it


def test_a_submission_that_a_living_driver_holds_is_left_alone(run) -> None:
    held = lease.acquire(run.submission)
    said = gc(run, "--dry-run")
    assert "nothing may go" in said and f"process {os.getpid()} on {socket.gethostname()}" in said
    assert "nothing may go" in gc(run, "--yes")
    assert run.steps() == (list(STEPS), list(STEPS))
    held.release()
    assert "checkpoints 7, 15" in gc(run, "--dry-run")


def test_the_dead_drivers_of_a_stopped_trial_leave_what_its_resume_needs(run) -> None:
    run.is_in("running")
    dead = LeaseRecord(
        fence=1,
        host=socket.gethostname(),
        machine=machine(),
        pid=2**22 + 1,
        process_born=0,
        counter=3,
    )
    run.store.write_record(run.submission.file("lease/000001.json"), dead)
    torn = run.trial.file("checkpoints/step_000000024/manifest.json")
    run.store.remove(torn)
    gc(run, "--yes")
    assert run.steps() == ([15, 24], list(STEPS))  # somebody may be writing it
    age_all(run)
    gc(run, "--yes")
    assert run.steps() == ([15], list(STEPS))
    assert read_checkpoint(run.trial, 15) is not None


def test_orphans_are_found_and_what_is_at_work_is_not(run) -> None:
    root = Path(run.store.root)
    keep_weights(run.store, b"nobody's")
    keep_weights(run.store, b"being written down at this moment")
    orphan = next(p for p in (root / "weights").iterdir() if p.read_bytes() == b"nobody's")
    age(orphan)
    for name in (run.submission.id, "deleted-20260101-000000"):
        (root / "ray" / name).mkdir(parents=True)
        (root / "ray" / name / "state").write_bytes(bytes(100))
    trial = root / run.trial.path
    half = [age_new(trial / ".status.json.0123abcd"), trial / "boards/.removed.x.0123abcd/y"]
    half[1].parent.mkdir(parents=True)
    half[1].write_bytes(b"z")
    young = trial / "journal/.000000001.jsonl.89abcdef"
    young.parent.mkdir()
    young.write_bytes(b"now")
    (root / "submissions/half").mkdir()
    age_new(root / "submissions/half/study.yaml")
    said = gc(run, "--yes")
    for why in (
        "weights that no trial starts from",
        "Ray's own files of a run that is over",
        "half-written or half-removed",
        "half-written submission",
    ):
        assert why in said
    assert not orphan.exists() and list((root / "ray").iterdir()) == []
    assert not half[0].exists() and not half[1].parent.exists()
    assert not (root / "submissions/half").exists()
    assert young.exists() and len(list((root / "weights").iterdir())) == 1
    assert run.steps() == ([24], list(STEPS))


def age_new(path: Path) -> Path:
    path.write_bytes(b"x")
    return age(path)


def test_weights_that_a_trial_starts_from_stay(run) -> None:
    keep_weights(run.store, b"somebody's")
    (weights,) = (Path(run.store.root) / "weights").iterdir()
    age(weights)
    record = run.trial.record()
    init = {"backbone": record.resolved["backbone"] | {"init": f"sha256:{weights.stem}"}}
    changed = record.model_copy(update={"resolved": record.resolved | init})
    run.store.write_record(run.trial.file("trial.json"), changed)
    gc(run, "--yes")
    assert weights.exists()


def test_a_trial_that_no_submission_lists_stays(run) -> None:
    run.store.remove(run.submission.path)
    said = gc(run, "--yes")
    assert "no submission lists its trial" in said
    assert run.steps() == (list(STEPS), list(STEPS))


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "unlink"), (Path, "rename"), (shutil, "rmtree")]
)
def test_a_kill_in_between_leaves_nothing_that_looks_like_a_checkpoint(
    a_run: Callable, owner: object, name: str
) -> None:
    run = a_run(1, 2, 3, 4, 5)
    run.is_in("finished")
    found = inventory(run)
    process = os.fork()
    if process == 0:
        die_at_the_third(owner, name)
        found.remove()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    checkpoints, exports = run.steps()
    assert checkpoints in ([3, 4, 5], [4, 5])
    whole = [step for step in checkpoints if read_checkpoint(run.trial, step) is not None]
    assert {4, 5} <= set(whole)
    assert all(weights_of(run.trial, card) for s in exports if (card := read_card(run.trial, s)))
    age_all(run)
    gc(run, "--yes")
    assert run.steps() == ([5], [1, 2, 3, 4, 5])
    assert [path for path in run.store.sizes("trials") if "/." in path] == []


def inventory(run) -> Inventory:
    """With everything held that is there."""
    return take_inventory(Holds(run.store, held={run.submission.id}), exports=False)


def test_a_submission_that_begins_while_leases_are_taken_is_left_alone(
    run, a_run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = [], holding.held

    @contextlib.contextmanager
    def held(submission: SubmissionFolder) -> Iterator[lease.Lease]:
        with real(submission) as own:
            begun.append(later := a_run(3, 6, 9, changes=["masking.ratio=0.5"]))
            later.is_in("running")
            for kind, commit in COMMITTED_BY.items():
                later.store.remove(later.trial.file(f"{kind}/step_000000009/{commit}"))
            (ray := later.store.scratch("ray") / later.submission.id).mkdir(parents=True)
            (ray / "state").write_bytes(b"of a run that lives")
            age_all(later)
            yield own

    monkeypatch.setattr(holding, "held", held)
    said = gc(run, "--yes")
    (later,) = begun
    assert f"submission {later.submission.id} runs it" in said
    assert run.steps() == ([24], list(STEPS))
    assert later.steps() == ([3, 6, 9], [3, 6, 9])
    assert (later.store.scratch("ray") / later.submission.id / "state").exists()


@pytest.mark.parametrize("kind", ["checkpoints", "exports"])
@pytest.mark.parametrize("written", ["the commit", "another file"])
def test_a_half_that_is_written_on_before_the_answer_stays(run, kind: Kind, written: str) -> None:
    half = run.trial.file(f"{kind}/step_000000024")
    path = f"{half}/{COMMITTED_BY[kind]}"
    whole = run.store.read(path)
    run.store.remove(path)
    age_all(run)
    found = inventory(run)
    assert [orphan.path for orphan in found.orphans] == [half]
    if written == "the commit":
        run.store.write(path, whole)
        age_all(run)
    else:
        run.store.write(f"{half}/more", b"x")
    before = found.num_bytes - found.orphans[0].num_bytes
    assert found.remove() == before
    assert run.store.exists(half)


def test_a_trial_that_another_submission_takes_before_the_answer_is_left_alone(
    run, a_run: Callable
) -> None:
    found = inventory(run)
    later = a_run(changes=["probes=[]"])
    assert later.trial.id == run.trial.id and later.submission.id != run.submission.id
    assert found.remove() == 0
    assert run.steps() == (list(STEPS), list(STEPS))


def test_a_checkpoint_that_a_fork_waits_for_since_the_question_stays(run) -> None:
    found = inventory(run)
    announce(run.trial, "fork", 7)
    assert found.remove() == 0
    assert run.steps() == (list(STEPS), list(STEPS))


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))


def test_a_full_disk_gets_room_for_a_lease_and_then_the_rest(
    a_run: Callable, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64 << 20)
    run = a_run(*STEPS, where=disk)
    run.is_in("pruned")
    ray = run.store.scratch("ray") / run.submission.id
    ray.mkdir(parents=True)
    fill(disk)
    with pytest.raises(OSError, match="No space"):
        lease.acquire(run.submission)
    said = gc(run, "--yes")
    assert "checkpoints 7, 15" in said and "not before the full disk takes a lease" in said
    assert "call it again" in said
    assert run.steps() == ([24], list(STEPS)) and ray.exists()
    assert "call it again" not in gc(run, "--yes")
    assert run.steps() == ([], list(STEPS)) and not ray.exists()


def test_a_full_disk_on_which_nothing_may_go_is_said_in_a_line(
    a_run: Callable, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64 << 20)
    run = a_run(24, where=disk)
    run.is_in("pruned")
    fill(disk)
    before = files(run)
    said = CliRunner().invoke(app, ["gc", "--storage", str(run.store.root), "--yes"])
    assert isinstance(said.exception, UserError)
    assert "too full" in str(said.exception) and "free 1 MB of it" in str(said.exception)
    assert files(run) == before
    (disk / "ballast").unlink()
    gc(run, "--yes")
    assert run.steps() == ([], [24])


def die_at_the_third(owner: object, name: str) -> None:
    """Let this process be killed when it calls a function for the third time."""
    real, calls = getattr(owner, name), itertools.count(1)

    def dying(*given: object, **named: object) -> object:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)

    setattr(owner, name, dying)
