"""What a new submission is called."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mimlab.search.submission import new_submission
from mimlab.storage.folders import submissions
from mimlab.storage.store import Store


def test_submissions_of_one_study_that_begin_at_once_are_not_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as executor:
        folders = list(executor.map(lambda _: new_submission(store, "my study"), range(16)))
    assert len({folder.id for folder in folders}) == 16
    assert all(folder.id.startswith("my-study-") for folder in folders)
    assert submissions(store) == []
