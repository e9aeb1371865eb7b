"""Boards: pictures by step, which MLflow shows with a slider."""

from __future__ import annotations

import io
import re
from functools import cached_property

import PIL.Image
from mlflow import MlflowClient

from mimlab.storage.folders import TrialFolder

KEY = "board"
# `log_image` writes the picture, then a small copy that ends so: with it, the picture is whole.
_LOGGED = re.compile(rf"images/{KEY}\+step\+(\d+)\+.*compressed\.webp")


class Boards:
    """Sends each board of a trial once; what MLflow has is asked for on the first board."""

    def __init__(self, client: MlflowClient, run_id: str, folder: TrialFolder) -> None:
        self._client = client
        self._run_id = run_id
        self._folder = folder

    def send(self) -> None:
        names = self._folder.store.list(self._folder.file("boards"))
        for name in (name for name in names if name.endswith(".png")):
            step = int(name.removesuffix(".png"))
            if step not in self._steps:
                self._send(name, step)
                self._steps.add(step)

    def _send(self, name: str, step: int) -> None:
        data = self._folder.store.read(self._folder.file(f"boards/{name}"))
        with PIL.Image.open(io.BytesIO(data)) as image:
            image.load()
            self._client.log_image(self._run_id, image, key=KEY, step=step, synchronous=True)

    @cached_property
    def _steps(self) -> set[int]:
        files = self._client.list_artifacts(self._run_id, "images")
        matches = (_LOGGED.fullmatch(file.path) for file in files)
        return {int(match.group(1)) for match in matches if match}
