"""Boards: pictures by step, which MLflow shows with a slider."""

from __future__ import annotations

import io
import re
from functools import partial

import PIL.Image
from mlflow import MlflowClient

from mimlab.storage.folders import TrialFolder
from mimlab.track.items import Items
from mimlab.track.sent import Sent

KEY = "board"
# `log_image` writes the picture, then a small copy that ends so: with it, the picture is whole.
_LOGGED = re.compile(rf"images/{KEY}\+step\+(\d+)\+.*compressed\.webp")


class Boards:
    """Sends each board of a trial once; what MLflow has is asked for on the first board."""

    def __init__(
        self, client: MlflowClient, run_id: str, folder: TrialFolder, items: Items, sent: Sent
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._folder = folder
        self._items = items
        self._sent = sent
        self._steps: set[int] | None = None
        """Steps whose boards MLflow has; None until it was asked."""

    @property
    def steps(self) -> frozenset[int]:
        """Steps whose boards MLflow is known to have."""
        return frozenset(self._steps or ())

    def send(self) -> None:
        names = self._folder.store.list(self._folder.file("boards"))
        boards = {int(name.removesuffix(".png")): name for name in names if name.endswith(".png")}
        if not boards or (
            self._steps is None and not self._items.send("list of boards", self._ask)
        ):
            return
        assert self._steps is not None
        for step in sorted(boards.keys() - self._steps):
            data = self._folder.store.read(self._folder.file(f"boards/{boards[step]}"))
            if self._items.send(f"board of step {step}", partial(self._log, data, step)):
                self._steps.add(step)
                self._sent.boards += 1

    def _log(self, data: bytes, step: int) -> None:
        with PIL.Image.open(io.BytesIO(data)) as image:
            image.load()
            self._client.log_image(self._run_id, image, key=KEY, step=step, synchronous=True)

    def _ask(self) -> None:
        files = self._client.list_artifacts(self._run_id, "images")
        matches = (_LOGGED.fullmatch(file.path) for file in files)
        self._steps = {int(match.group(1)) for match in matches if match}
