"""Submit: what is checked before anything is sent, and what is sent."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path

import pytest
import torch

from mimlab.actions import audit
from mimlab.actions.ray_jobs import RayJobs, refuse_large
from mimlab.actions.submit import STUDY, refuse_local, submit
from mimlab.errors import NotNow, UserError
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import load_study, load_study_text
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from one_machine.ports import free_port

FAR = RayJobs("http://head.example.org:8265")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def sent(text: str, store: Store, recorder, *changes: str, origin: Path | None = None) -> str:
    return submit(
        text,
        store=store,
        launcher=recorder,
        user="ada",
        preset=None,
        overrides=list(changes),
        origin=origin,
    )


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_what_is_sent_is_the_study_and_the_code_under_the_id(tiny_study, store, recorder) -> None:
    found = sent(tiny_study, store, recorder)
    (launched,) = recorder.launched
    assert found == launched.submission_id and found.startswith("tiny-")
    assert launched.words[:2] == ["supervise", STUDY]
    assert option(launched.words, "--as") == found and option(launched.words, "--by") == "ada"
    assert f'storage="{store.root}"' in launched.words
    assert launched.files[STUDY].decode() == tiny_study
    assert "mimlab/cli/main.py" in launched.files
    assert store.list("submissions") == []  # that is for the driver to write
    (line,) = audit.read(store)
    assert (line.who, line.what, line.on) == ("ada", "submit", found)


def test_the_same_study_twice_is_two_submissions(tiny_study, store, recorder) -> None:
    assert sent(tiny_study, store, recorder) != sent(tiny_study, store, recorder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("masking.ratioo=0.5", "did you mean `ratio`"),
        ("target.name=tokenz", "did you mean"),
        ("data.images=no/such/folder", "no/such/folder"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_sent(
    tiny_study, store, recorder, change: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        sent(tiny_study, store, recorder, change)
    assert recorder.launched == [] and audit.read(store) == []


def test_a_mistake_in_the_text_is_named_by_its_line(tiny_study, store, recorder) -> None:
    text = tiny_study.replace("batch_size: 100", "batch_sizes: 100")
    with pytest.raises(UserError, match=r"study\.yaml:\d+: train\.batch_sizes"):
        sent(text, store, recorder)


def test_paths_begin_where_the_file_lies(tiny_study, store, recorder, tmp_path: Path) -> None:
    origin = tmp_path / "sweeps" / "mine.yaml"
    with pytest.raises(UserError, match=str(tmp_path / "images")):
        text = tiny_study.replace("images: digits", "images: ../images")
        sent(text, store, recorder, origin=origin)
    sent(tiny_study, store, recorder, origin=origin)
    assert option(recorder.launched[0].words, "--origin") == str(origin)


def test_a_copy_of_a_study_reads_paths_from_where_it_came(tiny_study, tmp_path: Path) -> None:
    copy = tmp_path / "job" / STUDY
    copy.parent.mkdir()
    copy.write_text(tiny_study.replace("images: digits", "images: ../images"))
    loaded = load_study(copy, origin=tmp_path / "sweeps" / "mine.yaml")
    assert loaded.study.data.images == str(tmp_path / "images")


def test_changes_of_paths_mean_the_folder_where_they_were_typed(
    tiny_study, store, recorder, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=str(tmp_path / "images")):
        sent(tiny_study, store, recorder, "data.images=images")
    sent(tiny_study, store, recorder, "data.images=digits", "train.batch_size=64")
    assert {'data.images="digits"', "train.batch_size=64"} <= set(recorder.launched[0].words)


def test_weights_of_this_machine_go_along(tiny_study, store, recorder, tmp_path: Path) -> None:
    (trial,) = legal_trials(load_study_text(tiny_study, tmp_path / STUDY))
    weights = build_objective(trial.spec).backbone.vit
    torch.save(weights.state_dict(), tmp_path / "start.pt")
    sent(tiny_study, store, recorder, f"backbone.init={tmp_path / 'start.pt'}")
    (launched,) = recorder.launched
    assert launched.files["weights/start.pt"] == (tmp_path / "start.pt").read_bytes()
    assert launched.words[-1] == 'backbone.init="weights/start.pt"'


@pytest.mark.parametrize(("storage", "told"), [(None, "is not given"), ("runs", "is relative")])
def test_a_cluster_elsewhere_needs_a_storage_that_it_sees(storage: str | None, told: str) -> None:
    with pytest.raises(UserError, match=f"{told}.*s3://BUCKET/FOLDER"):
        refuse_local(storage, FAR)


@pytest.mark.parametrize("storage", ["/shared/runs", "s3://team/runs"])
def test_a_storage_that_all_see_is_taken(storage: str) -> None:
    refuse_local(storage, FAR)


def test_a_head_on_this_machine_takes_any_folder() -> None:
    near = RayJobs("http://127.0.0.1:8265")
    assert not near.is_remote and FAR.is_remote
    refuse_local(None, near)
    refuse_local("runs", near)


class OfAHead(http.server.BaseHTTPRequestHandler):
    """Answers as the dashboard of a head on another machine, at the far end of a tunnel."""

    def do_GET(self) -> None:
        version = self.path.startswith("/api/version")
        told = {"ray_version": "2.60.0"} if version else {"data": {"hostNameList": ["node-7"]}}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


def test_a_tunnel_that_comes_up_late_leads_to_another_machine_all_the_same() -> None:
    port = free_port()
    jobs = RayJobs(f"http://127.0.0.1:{port}")
    assert not jobs.is_remote  # nobody knows yet
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), OfAHead) as tunnel:
        threading.Thread(target=tunnel.serve_forever, daemon=True).start()
        assert jobs.is_remote
        tunnel.shutdown()
    assert jobs.is_remote


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://", ""])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="http://HOST:8265"):
        RayJobs(address)


def test_a_package_that_is_too_large_is_refused_with_its_size(tmp_path: Path) -> None:
    package = tmp_path / "driver.zip"
    with package.open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(UserError, match="300 MiB, and a Ray head takes 250 MiB"):
        refuse_large(package)


def test_a_head_that_does_not_answer_is_named(tiny_study, store) -> None:
    port = free_port()
    nobody = RayJobs(f"http://127.0.0.1:{port}")
    with pytest.raises(NotNow, match=f"127.0.0.1:{port}: no Ray dashboard answers there"):
        nobody.state("tiny-20260101-000000")
