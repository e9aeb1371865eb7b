"""What a run consists of besides its curves, sent so that one refusal blocks nothing else."""

from __future__ import annotations

from collections.abc import Callable

from mlflow import MlflowClient

from mimlab.track.client import words
from mimlab.track.refused import Refused


class Items:
    """Sends the files, tags, probes and boards of one run, each by itself."""

    def __init__(self, client: MlflowClient, run_id: str, owner: str, refused: Refused) -> None:
        """`owner`: what the run shows, for messages: `trial b0a87f9f5ab4`."""
        self._client = client
        self._run_id = run_id
        self._owner = owner
        self._refused = refused
        self._missing: set[str] = set()

    @property
    def due(self) -> bool:
        """Whether something that was refused is to be tried again."""
        return not all(self._refused.waits(item) for item in self._missing)

    def send(self, name: str, send: Callable[[], object]) -> bool:
        """Whether the item `name` is there now; a refusal is noted, and tried again later.

        Raises what `send` raised where that is no refusal: MLflow is away, or the run is deleted.
        """
        item = f"{self._owner}: {name}"
        if self._refused.waits(item):
            self._missing.add(item)
            return False
        try:
            send()
        except Exception as error:
            if self._is_gone():
                raise
            self._refused.add(item, words(error))
            self._missing.add(item)
            return False
        self._refused.taken(item)
        self._missing.discard(item)
        return True

    def _is_gone(self) -> bool:
        """Whether the run was deleted meanwhile. Raises where MLflow as a whole is away."""
        return self._client.get_run(self._run_id).info.lifecycle_stage == "deleted"
