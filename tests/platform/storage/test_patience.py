"""Storage that is away or full for a while is waited for; what waiting does not help is said at
once."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.storage.files import LocalFiles
from mimlab.storage.filesystems import RemoteError, remote_error
from mimlab.storage.lease import LeaseLost
from mimlab.storage.patience import (
    FULL,
    PASSING,
    OutOfPatience,
    Patience,
    PatientFiles,
    Trouble,
    trouble_of,
)
from mimlab.storage.store import Store

PERMANENT = (errno.ENOENT, errno.EACCES, errno.EROFS, errno.EISDIR)


def failing(codes: list[int]) -> Callable[[], str]:
    """An action that fails so often, then succeeds."""
    left = [OSError(code, os.strerror(code)) for code in codes]

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return action


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes pauses pass at once, and lists them."""
    pauses: list[float] = []
    monkeypatch.setattr("mimlab.storage.patience.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("code", sorted(PASSING | FULL))
def test_what_may_pass_is_tried_again_and_told(hasty: list[float], code: int) -> None:
    told: list[Trouble | None] = []
    patience = Patience("runs", 60.0).telling(told.append)
    assert patience.run(failing([code] * 4)) == "done"
    assert hasty == [0.5, 1.0, 2.0, 4.0]
    assert [trouble is not None for trouble in told] == [True] * 4 + [False]
    assert told[0] is not None and told[0].reason.startswith("runs: ")
    assert told[0].kind == ("full" if code in FULL else "away")


@pytest.mark.parametrize("code", PERMANENT)
def test_what_waiting_does_not_help_is_raised_at_once(hasty: list[float], code: int) -> None:
    with pytest.raises(OSError) as caught:
        Patience("runs", 60.0).run(failing([code]))
    assert caught.value.errno == code and hasty == []


def test_without_patience_every_error_is_raised_at_once(hasty: list[float]) -> None:
    with pytest.raises(OSError, match="No space"):
        Patience("runs").run(failing([errno.ENOSPC]))
    assert hasty == []


def test_pauses_grow_to_a_limit(hasty: list[float]) -> None:
    assert Patience("runs", 1e6).run(failing([errno.EIO] * 9)) == "done"
    assert hasty[-3:] == [15.0, 15.0, 15.0]


def test_at_the_limit_it_is_said_what_was_waited_for() -> None:
    start = time.monotonic()
    with pytest.raises(OutOfPatience, match=r"^runs: the disk is full; waited 0.01 minutes for it"):
        Patience("runs", 0.6).run(failing([errno.ENOSPC] * 99))
    assert 0.6 <= time.monotonic() - start < 5


def test_who_has_been_superseded_meanwhile_does_not_try_again(hasty: list[float]) -> None:
    def superseded() -> None:
        raise LeaseLost("superseded")

    tries: list[int] = []

    def action() -> None:
        tries.append(1)
        raise OSError(errno.EIO, "away")

    with pytest.raises(LeaseLost):
        Patience("runs", 60.0, guard=superseded).run(action)
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("message", "passing"),
    [
        ("AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7", True),
        ("AWS Error SLOW_DOWN during HeadObject operation: Reduce your request rate.", True),
        ("AWS Error UNKNOWN (HTTP status 503) during ListObjectsV2", True),
        ("An error occurred (503) when calling the PutObject operation: Slow Down", True),
        ("An error occurred (InternalError) when calling the PutObject operation", True),
        ('Read timeout on endpoint URL: "http://x"', True),
        ("AWS Error ACCESS_DENIED during PutObject operation", False),
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation", False),
        ("AWS Error INVALID_ACCESS_KEY_ID during PutObject operation", False),
    ],
)
def test_which_errors_of_a_bucket_may_pass(message: str, passing: bool) -> None:
    error = remote_error("s3://team/runs", message)
    assert error.passing is passing
    assert (trouble_of(error, "s3://team/runs") is not None) is passing


class Flaky(LocalFiles):
    """A folder of a file system that is away now and then, before or after it did as asked."""

    def __init__(self, root: Path, faults: list[str]) -> None:
        super().__init__(root)
        self._faults = faults

    def create(self, path: str, data: bytes) -> bool:
        fault = self._faults.pop(0) if self._faults else ""
        if fault == "before":
            raise OSError(errno.ESTALE, "stale")
        created = super().create(path, data)
        if fault == "after":
            raise TimeoutError("the answer was lost")
        return created


@given(faults=st.lists(st.sampled_from(["before", "after"]), max_size=3), taken=st.booleans())
def test_exclusive_creation_says_who_created(tmp_path_factory, faults, taken) -> None:
    folder = tmp_path_factory.mktemp("flaky")
    files = PatientFiles(Flaky(folder, list(faults)), Patience("runs", 60.0))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mimlab.storage.patience.time.sleep", lambda _: None)
        if taken:
            LocalFiles(folder).create("lease", b"theirs")
        assert files.create("lease", b"ours") is not taken
    assert LocalFiles(folder).read("lease") == (b"theirs" if taken else b"ours")


@pytest.mark.slow
def test_a_bucket_that_is_overloaded_is_waited_for(bucket, proxy) -> None:
    uri = bucket.uri("runs").replace(bucket.server, proxy.address)
    store = Store(uri).patient(60.0)
    store.write("first", b"1")
    proxy.away = True
    threading.Timer(3.0, setattr, (proxy, "away", False)).start()
    store.write("second", b"2")
    assert proxy.refused > 0 and store.read("second") == b"2"
    proxy.away = True
    threading.Timer(2.0, setattr, (proxy, "away", False)).start()
    assert store.create("lease", b"mine")
    assert not store.create("lease", b"mine")
    proxy.away = True
    for ask in (lambda s: s.read("first"), lambda s: s.list(""), lambda s: s.exists("first")):
        with pytest.raises(RemoteError):
            ask(store.at_once())
        threading.Timer(1.0, setattr, (proxy, "away", False)).start()
        assert ask(store)
        proxy.away = True


def test_a_full_disk_takes_nothing_or_all(small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(1 << 20)
    store = Store(folder)
    store.write("status.json", b"whole")
    store.append("log.jsonl", "first")
    (folder / "ballast").write_bytes(bytes(os.statvfs(folder).f_bavail * 4096))
    with pytest.raises(OSError) as caught:
        store.write("status.json", b"x" * 9000)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        store.create("lease/000001.json", b"x" * 9000)
    with pytest.raises(OSError, match="No space"):
        store.append("log.jsonl", "y" * 9000)
    assert store.read("status.json") == b"whole"
    assert [name for name in store.sizes("") if "/." in f"/{name}"] == []
    threading.Timer(1.0, (folder / "ballast").unlink).start()
    store.patient(60.0).write("status.json", b"x" * 9000)
    assert store.read("status.json") == b"x" * 9000
    store.append("log.jsonl", "last")
    lines = store.read("log.jsonl").decode().splitlines()
    assert (lines[0], lines[-1]) == ("first", "last")
