"""Files are whole or not there; creation is exclusive."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.storage.bucket_files import check_writable
from mimlab.storage.records import StatusRecord
from mimlab.storage.remote_path import RemotePath
from mimlab.storage.store import Store


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A storage root here, and one in a bucket."""
    if request.param == "folder":
        return Store(tmp_path)
    return Store(request.getfixturevalue("bucket").uri("runs"))


def test_what_is_written_is_read(store: Store) -> None:
    store.write("a/b.json", b"1")
    store.write("a/b.json", b"2")
    assert store.read("a/b.json") == b"2"
    assert store.list("a") == ["b.json"]


def test_a_reader_never_sees_half_a_file(store: Store) -> None:
    contents = {bytes([letter]) * 200_000 for letter in b"abcd"}
    store.write("file", b"a" * 200_000)
    done = threading.Event()

    def rewrite() -> None:
        while not done.is_set():
            for content in contents:
                store.write("file", content)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        assert all(store.read("file") in contents for _ in range(200))
    finally:
        done.set()
        writer.join()


def test_exactly_one_of_many_creates_a_file(store: Store) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        if store.create("lease/1", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("lease/1") == str(won[0]).encode()
    assert store.list("lease") == ["1"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        store.write("folder", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_record_that_cannot_be_read_is_named_with_a_remedy(store: Store) -> None:
    store.write("status.json", b'{"state": "sleeping"}')
    with pytest.raises(UserError) as caught:
        store.read_record("status.json", StatusRecord)
    message = str(caught.value)
    assert str(store.place("status.json")) in message
    assert "restore the file or remove its folder" in message


def test_a_missing_folder_lists_as_empty(store: Store) -> None:
    assert store.list("nowhere") == []


def test_what_is_removed_is_gone(store: Store) -> None:
    store.write("a/b/c.json", b"1")
    store.write("a/b/d.json", b"2")
    assert store.exists("a/b") and store.exists("a/b/c.json")
    store.remove("a/b/c.json")
    assert store.list("a/b") == ["d.json"]
    store.remove("a/b")
    store.remove("a/b")
    assert store.list("a") == [] and not store.exists("a/b")
    with pytest.raises(FileNotFoundError):
        store.read("a/b/d.json")


def test_a_name_is_kept_as_it_is(store: Store) -> None:
    name = "a b%20c+ü.gz"
    store.write(f"folder/{name}", b"plain")
    assert store.create(f"folder/{name}", b"other") is False
    assert store.list("folder") == [name]
    assert store.read(f"folder/{name}") == b"plain"


def test_a_large_file_arrives_whole(store: Store) -> None:
    data = bytes(range(256)) * 50_000  # more than one part of an upload
    store.write("state.pt", memoryview(data))
    assert store.read("state.pt") == data


def test_every_line_of_a_log_is_kept(store: Store) -> None:
    for number in range(3):
        store.append("log.jsonl", f'{{"number": {number}}}')
    names = store.list("log.jsonl") or [""]
    lines = [store.read(f"log.jsonl/{name}".rstrip("/")) for name in names]
    assert b"".join(lines) == b'{"number": 0}\n{"number": 1}\n{"number": 2}\n'


def test_what_is_no_result_lies_on_this_machine(store: Store) -> None:
    folder = store.scratch("ray")
    assert folder.is_absolute() and isinstance(folder, Path)


def test_a_record_of_another_version_is_said_and_not_taken_for_damaged(store: Store) -> None:
    """What is damaged is removed by whoever finds it."""
    later = LaterStatus(state="running", step=7, mood="good")
    store.write_sealed("status.json", later)
    with pytest.raises(
        UserError, match=r"status\.json.*: a StatusRecord of another version .*mood"
    ):
        store.read_sealed("status.json", StatusRecord)
    store.write("status.json", store.read("status.json").replace(b"good", b"bad!"))
    assert store.read_sealed("status.json", StatusRecord) is None


class LaterStatus(StatusRecord):
    """As a version would write it that has not been written yet."""

    mood: str


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_bucket_tells_its_own_object_from_anothers_after_a_lost_answer(
    bucket, proxy, whose: str
) -> None:
    """boto3 asks again by itself where it hears nothing, and is told that the object exists."""
    store = Store(bucket.uri("runs").replace(bucket.server, proxy.address))
    if whose == "theirs":
        Store(bucket.uri("runs")).create("lease/1", b"theirs")
    proxy.answers_lost = 1
    assert store.create("lease/1", b"ours") is (whose == "ours")
    assert proxy.answers_lost == 0
    assert store.read("lease/1") == whose.encode()
    assert not store.create("lease/1", b"ours")


def test_a_bucket_whose_answer_is_lost_is_not_taken_for_one_that_ignores_conditions(
    bucket, proxy
) -> None:
    uri = bucket.uri("runs").replace(bucket.server, proxy.address)
    proxy.answers_lost, proxy.lost_to = 1, b"If-None-Match"
    check_writable(RemotePath.parse(uri))
    assert proxy.answers_lost == 0
