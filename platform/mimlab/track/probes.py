"""Probe results: on the run at their step, and on the LoggedModel of the encoder probed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Run

from mimlab.storage.folders import TrialFolder, step_name
from mimlab.storage.records import ProbeRecord, TrialRecord
from mimlab.storage.remote_path import place_of
from mimlab.storage.store import Store
from mimlab.track import labels, tags
from mimlab.track.items import Items
from mimlab.track.models import ExportedModels
from mimlab.track.probe_mark import ProbeMark
from mimlab.track.runs import set_tags
from mimlab.track.sent import Sent


class Probes:
    """Sends each probe record of a trial.

    A tag names those that failed until they are redone, another one features that have collapsed.
    """

    def __init__(
        self,
        client: MlflowClient,
        run: Run,
        folder: TrialFolder,
        trial: TrialRecord,
        items: Items,
        sent: Sent,
    ) -> None:
        self._client = client
        self._run_id = run.info.run_id
        self._folder = folder
        self._items = items
        self._sent = sent
        self._images = _data_name(trial.resolved)
        self._models = ExportedModels(client, run, trial)
        self._mark = ProbeMark(client, run)
        known = run.data.tags
        self._shown = {key: known.get(key, "") for key in (tags.PROBE_ERROR, tags.COLLAPSED)}
        self._last: dict[str, ProbeRecord] = {}

    def send(self, *, again: bool) -> None:
        """`again`: also what was measured anew since it was sent."""
        known = () if again else self._mark.names
        new = read_probes(self._folder.store, self._folder.file("probes"), known)
        for name, record in self._mark.missing(new).items():
            item = f"probe {record.probe} at step {record.step}"
            if self._items.send(item, partial(self._send, record)):
                self._mark.sent(name, record)
                self._sent.probes += 1
        self._mark.keep()
        errors = [f"{r.probe} at step {r.step}: {r.error}" for r in new.values() if r.error]
        self._show(tags.PROBE_ERROR, "\n".join(errors))
        self._show(tags.COLLAPSED, self._collapse(new.values()))

    def _send(self, record: ProbeRecord) -> None:
        digest = record.data_fingerprint[:32]  # MLflow takes 36 characters
        data = Dataset(self._images, digest, source_type="mimlab", source=self._images)
        self._client.log_inputs(self._run_id, [DatasetInput(data)])
        metrics = [
            Metric(
                labels.name_key(key),
                value,
                record.time_ms,
                record.step,
                model_id=self._model(record.step),
                dataset_name=data.name,
                dataset_digest=data.digest,
            )
            for key, value in record.metrics.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics, synchronous=True)

    def _model(self, step: int) -> str | None:
        """The model of the export at `step`; None where retention has removed it."""
        export = self._folder.file(f"exports/{step_name(step)}")
        if not self._folder.store.exists(f"{export}/encoder.json"):
            return None
        return self._models.at(step, str(self._folder.store.place(export)))

    def _collapse(self, new: Iterable[ProbeRecord]) -> str:
        """What the newest result of each probe says of it."""
        for record in sorted(new, key=lambda r: r.step):
            known = self._last.get(record.probe)
            if known is None or known.step <= record.step:
                self._last[record.probe] = record
        said = [record for _, record in sorted(self._last.items()) if record.collapse]
        return "\n".join(f"{r.probe} at step {r.step}: {r.collapse}" for r in said)

    def _show(self, tag: str, text: str) -> None:
        send = partial(set_tags, self._client, self._run_id, {tag: text})
        if text != self._shown[tag] and self._items.send(f"tag {tag}", send):
            self._shown[tag] = text


def read_probes(store: Store, folder: str, known: Collection[str]) -> dict[str, ProbeRecord]:
    """Records in `folder` by file name, without the `known` names."""
    names = [name for name in store.list(folder) if name not in known and name.endswith(".json")]
    records = {name: store.read_record(f"{folder}/{name}", ProbeRecord) for name in names}
    return {name: record for name, record in records.items() if record}


def _data_name(resolved: Mapping) -> str:
    images = str(resolved.get("data", {}).get("images", "images"))
    return place_of(images).name or "images"
