"""The queue: nobody over quota, nobody starved, nothing lost."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.errors import NotNow, UserError
from mimlab.serve.queue.admission import Admission
from mimlab.serve.queue.driving import STARTING_S, Driving
from mimlab.serve.queue.folder import Queue
from mimlab.serve.queue.need import need
from mimlab.serve.queue.order import in_use, never_fits, next_entry, places
from mimlab.serve.queue.queued import Queued
from mimlab.serve.queue.records import Need, QueueEntry, Quotas, Share
from mimlab.spec.study import Resources
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import LeaseRecord
from mimlab.storage.store import Store

USERS = ("ada", "bob", "eve")


def entry(number: int, user: str = "ada", gpus: float = 1.0, **changes) -> QueueEntry:
    found = QueueEntry(
        number=number,
        submission=f"study-{number}",
        user=user,
        words=["supervise", f"study-{number}"],
        has_code=False,
        need=Need(gpus=gpus, cpus=0.0),
        queued="",
    )
    return found.model_copy(update=changes)


def quotas(total: float | None = None, **users: float) -> Quotas:
    return Quotas(
        users={user: Share(gpus=gpus) for user, gpus in users.items()}, total=Share(gpus=total)
    )


def test_the_highest_priority_then_who_holds_least_then_the_oldest() -> None:
    waiting = [entry(1, "ada"), entry(2, "bob"), entry(3, "eve", priority=1)]
    assert next_entry(waiting, Quotas()) == waiting[2]
    assert next_entry(waiting[:2], Quotas()) == waiting[0]
    holding = [entry(9, "ada", state="started"), *waiting[:2]]
    assert next_entry(holding, Quotas()) == waiting[1]


def test_places_are_those_in_which_they_will_start() -> None:
    waiting = [entry(1, "ada"), entry(2, "ada"), entry(3, "bob"), entry(4, "eve", priority=1)]
    assert places(waiting, Quotas()) == {4: 1, 1: 2, 3: 3, 2: 4}
    never = [entry(5, "bob", gpus=9.0), *waiting]
    assert 5 not in places(never, quotas(total=8.0))
    running = [entry(9, "ada", state="started"), *waiting]
    assert places(running, Quotas()) == {4: 1, 3: 2, 1: 3, 2: 4}


def test_a_large_one_is_not_overtaken_by_its_user_s_small_ones() -> None:
    entries = [entry(1, gpus=1.0, state="started"), entry(2, gpus=2.0), entry(3, gpus=1.0)]
    assert next_entry(entries, quotas(ada=2.0)) is None
    assert next_entry([entries[0], entries[2]], quotas(ada=2.0)) == entries[2]


def test_whoever_waits_for_their_own_quota_holds_up_nobody_else() -> None:
    entries = [entry(1, state="started"), entry(2), entry(3, "bob")]
    assert next_entry(entries, quotas(ada=1.0)) == entries[2]


def test_a_full_cluster_is_waited_for_and_nobody_slips_in() -> None:
    entries = [entry(1, "ada", state="started"), entry(2, "bob", 2.0), entry(3, "eve", 1.0)]
    assert next_entry(entries, quotas(total=2.0)) is None


def test_what_could_never_run_blocks_nobody_and_says_why() -> None:
    entries = [entry(1, gpus=8.0), entry(2)]
    assert next_entry(entries, quotas(ada=4.0)) == entries[1]
    assert "ada's quota is 4" in never_fits(entries[0].need, "ada", quotas(ada=4.0))
    assert "the cluster is 2" in never_fits(entries[0].need, "ada", quotas(total=2.0))


NEEDS = st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0])
ENTRIES = st.lists(
    st.tuples(st.sampled_from(USERS), NEEDS, st.integers(-1, 1)), min_size=1, max_size=14
)
QUOTAS = st.builds(
    lambda each, total: quotas(total, **each),
    st.dictionaries(st.sampled_from(USERS), NEEDS),
    st.none() | st.sampled_from([2.0, 4.0, 6.0]),
)


@given(ENTRIES, QUOTAS, st.integers(0, 1000))
def test_nobody_is_over_quota_and_everything_that_can_run_does(
    asked: list[tuple[str, float, int]], limits: Quotas, seed: int
) -> None:
    """Plays the queue: what runs ends at random, until nothing is left that could run."""
    chosen = random.Random(seed)
    entries = {
        number: entry(number, user, gpus, priority=priority)
        for number, (user, gpus, priority) in enumerate(asked, 1)
    }

    def put(number: int, state: str) -> None:
        entries[number] = entries[number].model_copy(update={"state": state})

    while True:
        found = next_entry(list(entries.values()), limits)
        shuffled = chosen.sample(list(entries.values()), len(entries))
        assert next_entry(shuffled, limits) == found
        running = [e.number for e in entries.values() if e.state == "started"]
        if found is not None:
            put(found.number, "started")
        elif running:
            put(chosen.choice(running), "ended")
        else:
            break
        for user in USERS:
            assert in_use(entries.values(), user).fits(limits.of(user), Need(gpus=0, cpus=0))
        held = [in_use(entries.values(), user).gpus for user in USERS]
        assert limits.total.gpus is None or sum(held) <= limits.total.gpus + 1e-9
    for left in entries.values():
        hopeless = bool(never_fits(left.need, left.user, limits))
        assert left.state == ("waiting" if hopeless else "ended")


def test_an_old_entry_starts_though_others_keep_coming() -> None:
    """ada wants the whole cluster; bob and eve keep sending small ones."""
    entries = {1: entry(1, "ada", 2.0)}
    entries[0] = entry(0, "bob", 1.0, state="started")
    for number in range(2, 40):
        entries[number] = entry(number, ("bob", "eve")[number % 2], 1.0)
        while (found := next_entry(list(entries.values()), quotas(total=2.0))) is not None:
            entries[found.number] = found.model_copy(update={"state": "started"})
        if entries[1].state == "started":
            break
        oldest = min(n for n, e in entries.items() if e.state == "started")
        entries[oldest] = entries[oldest].model_copy(update={"state": "ended"})
    assert entries[1].state == "started"
    assert len(entries) < 6


@pytest.mark.parametrize(
    ("resources", "trials", "gpus", "cpus"),
    [
        ({"gpus_per_worker": 1}, 6, 6.0, 0.0),
        ({"gpus_per_worker": 0.5, "workers": 2, "concurrent_trials": 3}, 6, 3.0, 0.0),
        ({"gpus_per_worker": 1, "workers": {"min": 1, "max": 4}}, 1, 4.0, 0.0),
        ({"cpus_per_worker": 2, "concurrent_trials": 9}, 3, 0.0, 6.0),
    ],
)
def test_what_a_study_holds_at_most(resources: dict, trials: int, gpus: float, cpus: float) -> None:
    assert need(Resources(**resources), trials) == Need(gpus=gpus, cpus=cpus)


class Launches:
    """Remembers what it was to start, and with which files."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.code: dict[str, bytes | None] = {}
        self.away = False
        self.asked = 0

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        assert self.states.get(submission_id) != "running", "started twice"
        self.states[submission_id] = "running"
        assert words
        self.code[submission_id] = working_dir.read_bytes() if working_dir else None

    def state(self, submission_id: str) -> str | None:
        self.asked += 1
        if self.away:
            raise NotNow("the head does not answer")
        return self.states.get(submission_id)

    def log_tail(self, submission_id: str, lines: int) -> str:
        return f"{lines} lines of {submission_id}"

    def page(self, submission_id: str) -> None:
        """It has none."""

    def stop(self, submission_id: str) -> None:
        self.states[submission_id] = "ended"


ONE = Need(gpus=1.0, cpus=0.0)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    found = Queue(Store(tmp_path))
    found.set_quotas(quotas(ada=1.0, bob=1.0))
    return found


def put(queue: Queue, submission: str, user: str = "ada", code: bytes | None = None) -> QueueEntry:
    return queue.add(submission, user=user, need=ONE, words=["x"], code=code)


def started(admission: Admission) -> list[str]:
    return [each.submission for each in admission.round()]


def states(queue: Queue) -> list[str]:
    return [each.state for each in Queue(queue.store).entries()]


def test_what_has_room_starts_and_the_rest_follows_when_it_ends(queue: Queue) -> None:
    launches = Launches()
    admission = Admission(queue, launches)
    for name, user in (("a", "ada"), ("b", "ada"), ("c", "bob")):
        put(queue, name, user, code=b"zip of " + name.encode())
    assert started(admission) == ["a", "c"]
    assert started(admission) == []
    assert launches.code["a"] == b"zip of a"
    launches.stop("a")
    assert started(admission) == ["b"]
    assert states(queue) == ["ended", "started", "started"]


def test_of_two_dashboards_one_starts_things(queue: Queue, monkeypatch) -> None:
    monkeypatch.setattr(lease, "EXPIRE_S", 0.1)
    launches = Launches()
    first, second = Admission(queue, launches), Admission(Queue(queue.store), launches)
    assert started(first) == []
    put(queue, "a")
    assert started(second) == []
    assert started(first) == ["a"]
    first.release()
    put(queue, "b", "bob")
    assert started(second) == ["b"]
    assert started(first) == []


def test_a_restart_loses_nothing_and_starts_nothing_twice(queue: Queue) -> None:
    launches = Launches()
    put(queue, "a")
    put(queue, "b", "bob")
    dying = Admission(queue, launches)
    assert queue.claim(queue.entry(1))  # it dies between claim and start …
    assert queue.claim(queue.entry(2))
    launches.start("b", ["x"], None)  # … or between start and the record of it
    dying.release()
    assert started(Admission(Queue(queue.store), launches)) == ["a", "b"]
    assert states(queue) == ["started", "started"]


def test_a_driver_that_has_yet_to_end_is_not_taken_for_its_successor(queue: Queue) -> None:
    launches = Launches()
    admission = Admission(queue, launches)
    launches.start("a", ["x"], None)
    put(queue, "a")
    assert started(admission) == []
    assert states(queue) == ["waiting"]
    launches.stop("a")
    assert started(admission) == ["a"]


def test_what_is_withdrawn_is_not_started_and_what_started_is_not_withdrawn(queue: Queue) -> None:
    admission = Admission(queue, Launches())
    put(queue, "a")
    queue.withdraw(1)
    put(queue, "b")
    assert started(admission) == ["b"]
    with pytest.raises(UserError, match="waits no longer"):
        queue.withdraw(2)
    assert states(queue) == ["withdrawn", "started"]


def test_a_withdrawal_that_died_half_way_counts(queue: Queue) -> None:
    put(queue, "a")
    queue.store.create("queue-claims/000000001.json", b'{"state": "withdrawn"}')
    assert started(Admission(queue, Launches())) == []
    assert states(queue) == ["withdrawn"]


def test_a_head_that_is_away_is_asked_again_and_holds_up_nobody(queue: Queue) -> None:
    launches = Launches()
    admission = Admission(queue, launches)
    put(queue, "a")
    launches.away = True
    assert started(admission) == []
    assert "does not answer" in queue.entry(1).problem
    put(queue, "b", "bob")
    launches.away = False
    assert started(admission) == ["a", "b"]
    assert queue.entry(1).problem == ""


def test_a_head_that_is_away_is_told_of_once_and_so_is_its_return(
    queue: Queue, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    launches = Launches()
    admission = Admission(queue, launches)
    put(queue, "a")
    assert started(admission) == ["a"]

    def several_rounds() -> None:
        before = launches.asked
        while launches.asked < before + 5:
            time.sleep(0.01)

    launches.away = True
    with admission.running():
        several_rounds()
        launches.away = False
        several_rounds()
    still, on = caplog.messages
    assert "the head does not answer" in still
    assert on == "the queue goes on"


def test_what_cannot_be_started_says_why_and_holds_up_nobody(queue: Queue, monkeypatch) -> None:
    launches = Launches()
    start = launches.start

    def damaged(submission_id: str, words: list[str], working_dir: Path | None) -> None:
        if submission_id == "a":
            raise zipfile.BadZipFile("File is not a zip file")
        start(submission_id, words, working_dir)

    monkeypatch.setattr(launches, "start", damaged)
    put(queue, "a", code=b"no zip")
    put(queue, "b", "bob")
    assert started(Admission(queue, launches)) == ["b"]
    assert "not a zip file" in queue.entry(1).problem
    assert states(queue) == ["waiting", "started"]
    queue.withdraw(1)


def test_nothing_ends_the_loop_that_starts_things(queue: Queue, monkeypatch, caplog) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    launches = Launches()
    admission = Admission(queue, launches)
    put(queue, "a")
    assert started(admission) == ["a"]
    put(queue, "b", "bob")
    looks = []

    def damaged(submission_id: str) -> str | None:
        looks.append(submission_id)
        if len(looks) < 5:
            raise ValueError("a record is damaged")
        return launches.states.get(submission_id)

    monkeypatch.setattr(launches, "state", damaged)
    deadline = time.monotonic() + 60
    with admission.running():
        while states(queue)[1] != "started":
            assert time.monotonic() < deadline
            time.sleep(0.01)
    still, on = caplog.messages
    assert "ValueError: a record is damaged" in still
    assert on == "the queue goes on"


def together(*calls: Callable[[], QueueEntry]) -> list[str]:
    """What each of some calls comes to that are made at once."""
    found: list[str] = []

    def said(call: Callable[[], QueueEntry]) -> None:
        try:
            found.append(f"number {call().number}")
        except UserError as error:
            found.append(str(error))

    threads = [threading.Thread(target=said, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


@pytest.mark.parametrize("dashboards", [1, 2])
def test_of_two_who_resume_a_submission_at_once_one_is_refused(
    queue: Queue, monkeypatch, dashboards: int
) -> None:
    meet = threading.Barrier(2)
    waiting = Queue.waiting

    def both(self: Queue, submission: str) -> QueueEntry | None:
        found = waiting(self, submission)
        with contextlib.suppress(threading.BrokenBarrierError):
            meet.wait(timeout=1.0)  # both have looked before either goes on, where they may
        return found

    monkeypatch.setattr(Queue, "waiting", both)
    other = queue if dashboards == 1 else Queue(queue.store)
    said = together(lambda: put(queue, "a"), lambda: put(other, "a", "bob"))
    assert said == ["a waits in the queue already, as number 1", "number 1"]
    assert states(queue).count("waiting") == 1


def test_a_submission_waits_once_and_not_for_what_it_never_gets(queue: Queue) -> None:
    put(queue, "a")
    with pytest.raises(UserError, match="already, as number 1"):
        put(queue, "a")
    with pytest.raises(UserError, match="concurrent_trials"):
        queue.add("b", user="ada", need=Need(gpus=2.0, cpus=0.0), words=[], code=None)


def test_a_queued_launcher_waits_stops_and_asks_on(queue: Queue, tmp_path: Path) -> None:
    launches = Launches()
    queued = Queued(queue, launches, "ada", ONE)
    package = tmp_path / "code.zip"
    package.write_bytes(b"zip")
    queued.start("a", ["supervise"], package)
    package.unlink()
    assert queued.state("a") == "pending"
    assert launches.states == {}
    Admission(queue, launches).round()
    assert (queued.state("a"), launches.code["a"]) == ("running", b"zip")
    queued.stop("a")
    assert launches.states["a"] == "ended"
    queued.start("b", [], None)
    queued.stop("b")
    assert states(queue) == ["started", "withdrawn"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_driver_counts_as_long_as_its_lease_moves(tmp_path: Path) -> None:
    store, clock = Store(tmp_path), Clock()
    folder = SubmissionFolder(store, "a")
    driving = Driving(store, clock)

    def runs(state: str | None = None) -> bool:
        return driving.runs("a", lambda _: state)

    def renew(counter: int, released: bool = False) -> None:
        record = LeaseRecord(
            fence=1,
            host="elsewhere",
            machine="another",
            pid=1,
            process_born=0,
            counter=counter,
            released=released,
        )
        store.write_record(folder.file("lease/000001.json"), record)

    assert runs()
    clock.now += STARTING_S
    assert not runs()
    driving.forget("a")
    assert runs()
    renew(1)
    assert runs()
    clock.now += lease.EXPIRE_S
    assert not runs()
    assert runs("running")
    renew(2)
    assert runs("failed")
    renew(2, released=True)
    assert not runs()
