"""Whether MLflow answers is found out beside the requests, which never wait for it."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mimlab.serve.reading.mlflow_watch import EVERY_S, MlflowWatch
from one_machine.ports import free_port


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that knows nobody."""

    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its names
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def wait_for(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_is_away_is_said_and_one_that_is_back_is_not(server: str) -> None:
    now = [0.0]
    watch = MlflowWatch(lambda: now[0])
    gone = f"http://127.0.0.1:{free_port()}"
    assert watch.problem(gone) == ""  # nobody knows yet
    wait_for(lambda: watch.problem(gone) == f"MLflow does not answer at {gone}")
    assert watch.problem(server) == ""
    host, port = gone.removeprefix("http://").split(":")
    back = http.server.ThreadingHTTPServer((host, int(port)), Refusing)
    threading.Thread(target=back.serve_forever, daemon=True).start()
    assert watch.problem(gone)  # it is not asked at every request
    now[0] += EVERY_S
    wait_for(lambda: watch.problem(gone) == "")
    back.shutdown()
    back.server_close()


def test_a_server_that_hangs_holds_up_no_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert MlflowWatch().problem(f"http://127.0.0.1:{silent.getsockname()[1]}") == ""
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("uri", ["sqlite:////data/mlflow.db", "databricks", ""])
def test_what_is_no_server_is_not_asked(uri: str) -> None:
    assert MlflowWatch().problem(uri) == ""
