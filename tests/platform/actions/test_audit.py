"""The audit log keeps every action, in order, and never changes one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mimlab.actions import audit
from mimlab.storage.store import Store


def test_actions_come_back_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(5):
        audit.record(store, "ada", "stop", f"s{number}", {"number": number})
    assert [line.on for line in audit.read(store)] == [f"s{n}" for n in range(5)]
    assert [line.details["number"] for line in audit.read(store, last=2)] == [3, 4]
    assert audit.read(store, last=0) == []


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: audit.record(store, "ada", "stop", str(n)), range(100)))
    assert {line.on for line in audit.read(store)} == {str(n) for n in range(100)}


def test_an_unreadable_line_hides_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    audit.record(store, "ada", "stop", "first")
    store.write(f"{audit.FOLDER}/00000000000000000000-later.json", b'{"version": 9}')
    assert [line.on for line in audit.read(store)] == ["first"]


def test_an_empty_storage_has_no_log(tmp_path: Path) -> None:
    assert audit.read(Store(tmp_path / "none")) == []
