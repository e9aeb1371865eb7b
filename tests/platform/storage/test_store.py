"""Files are whole or not there; creation is exclusive."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.storage.records import StatusRecord
from mimlab.storage.store import Store


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a/b.json", b"1")
    store.write("a/b.json", b"2")
    assert store.read("a/b.json") == b"2"
    assert store.list("a") == ["b.json"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
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


def test_exactly_one_of_many_creates_a_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
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


def test_a_record_that_cannot_be_read_is_named_with_a_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("status.json", b'{"state": "sleeping"}')
    with pytest.raises(UserError) as caught:
        store.read_record("status.json", StatusRecord)
    message = str(caught.value)
    assert str(tmp_path / "status.json") in message
    assert "restore the file or remove its folder" in message


def test_a_missing_folder_lists_as_empty(tmp_path: Path) -> None:
    assert Store(tmp_path).list("nowhere") == []
