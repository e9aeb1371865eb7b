"""What was encoded before a stop or a kill stays, serves the same plan alone, and is no store."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mimlab.data.claiming import Claim
from mimlab.errors import UserError
from mimlab.storage.machine import process_born
from mimlab.tokens.encoding import EncodingResources
from mimlab.tokens.plan import EncodingPlan
from mimlab.tokens.store import TokenStore, encoder_sha256
from mimlab.tokens.unfinished import Unfinished, first_difference, unfinished
from mimlab.tokens.worker import Job, PieceWorker


class Stopped(Exception):
    """What stops an encoding here."""


def plan_of(made, data, asked, **changes) -> EncodingPlan:
    asked = asked.model_copy(update=changes)
    return EncodingPlan.of(made.encoder, encoder_sha256(made.folder), data, ["train"], asked)


@pytest.fixture
def begun(data, seen, tmp_path: Path, asked):
    """An encoding of pieces of 4 rows that was stopped after the third of 8."""
    made, out = seen(), tmp_path / "store"
    plan = plan_of(made, data, asked)
    with pytest.raises(Stopped), unfinished(out, plan, plan.pieces(data, rows=4)) as store:
        job = Job(plan, str(data.root), str(out), str(store.work), threads=1, batch=8)
        worker = PieceWorker(job, lambda: made.encoder)
        for piece in store.pieces[:3]:
            worker({"piece": piece.model_dump_json()})
        raise Stopped
    return made, out


def done(data, made, out: Path, asked) -> Unfinished:
    plan = plan_of(made, data, asked)
    return Unfinished(plan, out, out / "encoding", tuple(plan.pieces(data, rows=4)))


def test_what_is_done_is_known_and_is_no_store(data, begun, asked):
    made, out = begun
    store = done(data, made, out, asked)
    assert [piece.name in store.done() for piece in store.pieces] == [True] * 3 + [False] * 5
    with pytest.raises(UserError, match=r"no sidecar\.json"):
        TokenStore.open(out, data)


def test_a_piece_whose_record_or_file_is_damaged_is_done_again(data, begun, asked):
    made, out = begun
    names = [piece.name for piece in done(data, made, out, asked).pieces]
    (out / "encoding" / f"{names[0]}.json").write_text('{"bytes": 3')
    (out / "encoding" / f"{names[1]}.parquet").unlink()
    assert list(done(data, made, out, asked).done()) == [names[2]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 6}, "views.seed was 5, now 6"),
        ({"image_size": 32}, "views.image_size was 24, now 32"),
        ({"count": 4}, "views.count was 3, now 4"),
    ],
)
def test_another_plan_does_not_take_it(data, begun, asked, changes, words):
    made, out = begun
    plan = plan_of(made, data, asked, **changes)
    assert first_difference(plan_of(made, data, asked), plan) == words
    with (
        pytest.raises(UserError, match=rf"holds the beginning of another store: {words}"),
        unfinished(out, plan, []),
    ):
        pass


def test_a_folder_with_something_else_in_it_is_refused(data, seen, tmp_path, asked):
    (tmp_path / "notes.txt").write_text("mine")
    with (
        pytest.raises(UserError, match="exists already; choose another folder"),
        unfinished(tmp_path, plan_of(seen(), data, asked), []),
    ):
        pass


def test_a_folder_that_another_process_fills_is_refused(data, begun, asked):
    made, out = begun
    parent = Claim.own().model_copy(
        update={"pid": os.getppid(), "process_born": process_born(os.getppid())}
    )
    (out / "encoding" / "claim.json").write_text(parent.model_dump_json())
    with (
        pytest.raises(UserError, match=rf"process {os.getppid()} .* is encoding into it"),
        unfinished(out, plan_of(made, data, asked), []),
    ):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_a_second_call_computes_what_is_missing_also_where_an_actor_is_killed(
    data, begun, tmp_path
):
    made, out = begun
    marker, reports = tmp_path / "killed", []
    encoder = made.encoder
    exact = encoder.encode

    def dying(images):
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return exact(images)

    def load(folder: str):
        assert folder == str(made.folder)
        encoder.encode = dying
        return encoder

    store = made.encode_with_ray(
        data,
        out,
        load=load,
        resources=EncodingResources(workers=1, cpus=1, piece_rows=4),
        on_progress=lambda *now: reports.append(now),
    )
    assert marker.exists()
    assert reports[0] == (12, 30, 12) and reports[-1] == (30, 30, 12) and len(reports) == 6
    assert store.manifest == made.encode(data, tmp_path / "plain").manifest
    assert not (out / "encoding").exists()
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
