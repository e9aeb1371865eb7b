"""The client against a server of its own, over a real connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn

from mimlab.errors import NotNow, UserError
from mimlab.serve.checking import PastedStudy
from mimlab.serve.client import TOKEN, Client


@pytest.fixture
def served(site: Callable) -> Iterator[tuple]:
    """A dashboard, and its address."""
    dashboard = site()
    # FastAPI sends JSON by itself; uvicorn's websockets are NiceGUI's matter.
    config = uvicorn.Config(dashboard.app, port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield dashboard, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_it_submits_and_reads_and_says_what_was_refused(
    served: tuple, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard, address = served
    monkeypatch.setenv(TOKEN, dashboard.services.users.add("ada", "submitter"))
    with Client(address) as client:
        assert client.identity().name == "ada"
        assert client.check(PastedStudy(text=study)).trials == 1
        launched = client.submit(study, overrides=["sweep.seeds=[3]"])
        entries = client.queue().entries
        assert [entry.submission for entry in entries] == [launched.submission]
        assert client.submissions() == []
        with pytest.raises(UserError, match="there is no submission 'none'"):
            client.submission("none")
        with pytest.raises(UserError, match="masking"):
            client.submit(study.replace("0.75", "7"))
    stranger = Client(address, "mimlab_ada_" + "A" * 43)
    with stranger, pytest.raises(UserError, match="mimlab user token"):
        stranger.submissions()


def test_the_server_starts_what_waits(served: tuple, study: str) -> None:
    dashboard, address = served
    with Client(address) as client:
        launched = client.submit(study)
    deadline = time.monotonic() + 30
    while not dashboard.cluster.started and time.monotonic() < deadline:
        time.sleep(0.05)
    assert dashboard.cluster.started == [launched.submission]


def test_who_does_not_answer_may_later() -> None:
    with Client("http://127.0.0.1:9", "x") as client, pytest.raises(NotNow, match="not answer"):
        client.submissions()


def test_what_answers_but_is_no_dashboard_is_named() -> None:
    def other(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.url.path.endswith("queue") else 502, text="<html>")

    with Client("http://elsewhere", "x", transport=httpx.MockTransport(other)) as client:
        with pytest.raises(UserError, match="not this version's"):
            client.queue()
        with pytest.raises(UserError, match="502"):
            client.submissions()
