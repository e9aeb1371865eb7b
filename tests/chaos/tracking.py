"""An MLflow server that can be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from one_machine.ports import free_port

READY_S = 120.0


class TrackingServer:
    """`mlflow server` on SQLite, at the same address through all its lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                    *("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"),
                    *("--artifacts-destination", str(self._folder / "artifacts")),
                ],
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"mlflow did not answer within {READY_S:.0f} s")
            time.sleep(0.2)

    def kill(self) -> None:
        """kill -9 of the server and what it has started."""
        if self._process is None:
            return
        own = psutil.Process(self._process.pid)
        for process in (*own.children(recursive=True), own):
            process.kill()
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
