"""Which probe results MLflow has, remembered by MLflow itself."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from mlflow import MlflowClient
from mlflow.entities import Run

from mimlab.storage.records import ProbeRecord
from mimlab.track import tags
from mimlab.track.runs import set_tags


class ProbeMark:
    """A hash of the results that a run has whole, in a tag that is set after them.

    Where it differs from the folder's, all of them are sent again: MLflow drops a value that it
    has, as it does with points (`mimlab.track.points`).
    """

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._run_id = run.info.run_id
        self._shown = run.data.tags.get(tags.PROBES, "")
        self._sent: dict[str, int] = {}

    @property
    def names(self) -> Collection[str]:
        """File names of the results that need no look any more."""
        return self._sent.keys()

    def missing(self, found: Mapping[str, ProbeRecord]) -> dict[str, ProbeRecord]:
        """Of results that were found, by file name, those that are to be sent."""
        for name, record in found.items():
            if record.error or self._sent.get(name) != record.time_ms:
                self._sent.pop(name, None)  # it was measured anew
        new = {n: r for n, r in found.items() if not r.error and n not in self._sent}
        times = {name: record.time_ms for name, record in new.items()}
        if _hash(self._sent | times) != self._shown:
            return new
        self._sent |= times
        return {}

    def sent(self, name: str, record: ProbeRecord) -> None:
        self._sent[name] = record.time_ms

    def keep(self) -> None:
        """Let MLflow remember what was sent."""
        mark = _hash(self._sent)
        if mark != self._shown:
            set_tags(self._client, self._run_id, {tags.PROBES: mark})
            self._shown = mark


def _hash(times: Mapping[str, int]) -> str:
    if not times:
        return ""
    text = "\n".join(f"{name} {time_ms}" for name, time_ms in sorted(times.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
