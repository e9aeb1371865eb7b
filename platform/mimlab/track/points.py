"""A trial's curves: each journal point once, in order, with the time of the journal."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import iter_points
from mimlab.track import tags
from mimlab.track.batches import batches
from mimlab.track.sent import Sent


class Points:
    """Sends the journal beyond a high-water mark that MLflow itself keeps, as a tag.

    MLflow writes the values of a request before its tags. Where it stopped in between, the values
    come again; its table of metrics has (run, key, time, step, value) as primary key and drops
    them (mlflow/store/tracking/sqlalchemy_store.py, `_log_metrics_once`).
    """

    def __init__(
        self, client: MlflowClient, run_id: str, folder: TrialFolder, sent: Sent, *, seq: int
    ) -> None:
        self.seq = seq
        """The mark."""
        self._client = client
        self._run_id = run_id
        self._folder = folder
        self._sent = sent

    def send(self) -> None:
        points = iter_points(self._folder.store, self._folder.file("journal"), after=self.seq)
        for batch in batches(points, after=self.seq):
            self._client.log_batch(
                self._run_id,
                metrics=[Metric(*value) for value in batch.values],
                tags=[RunTag(tags.JOURNAL_SEQ, str(batch.seq))],
                synchronous=True,
            )
            self._sent.points += batch.seq - self.seq
            self.seq = batch.seq
