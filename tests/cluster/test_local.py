"""`cluster/local`: everything on one machine, up and down."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mimlab.errors import UserError
from one_machine.keys import Keys, write_secret
from one_machine.ports import free_port, ports_of, refuse_taken
from one_machine.record import Process, Record
from one_machine.settings import LONGEST_FOLDER, Ports, Settings

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "cluster" / "local"
ENV = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")} | {
    "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT / 'objectives'}",
    "PYTHON": sys.executable,
}


def call(script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(LOCAL / script), *arguments]
    return subprocess.run(command, env=ENV, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["up", "down"])
def test_the_scripts_are_portable_shell(script: str) -> None:
    assert (LOCAL / script).read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(LOCAL / script)], check=True)
    assert os.access(LOCAL / script, os.X_OK)


def test_a_port_that_is_taken_is_named_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        others = {"ray": free_port(), "jobs": free_port(), "dashboard": free_port()}
        with pytest.raises(UserError) as refused:
            refuse_taken(Ports(mlflow=port, **others))
    message = str(refused.value)
    assert message.startswith(f"port {port} (mlflow) is taken by ")
    assert f"process {os.getpid()}" in message
    assert str(others["ray"]) not in message


def test_two_services_on_one_port_are_refused() -> None:
    port = free_port()
    with pytest.raises(UserError, match="same port"):
        refuse_taken(Ports(ray=port, jobs=port, mlflow=free_port(), dashboard=free_port()))


@pytest.mark.parametrize("said", ["ray", "ray=", "ray=x", "ray=70000", "nobody=80", "ray=0"])
def test_a_port_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(UserError, match="expected NAME=PORT, NAME one of ray, jobs, mlflow"):
        ports_of([said])


def test_ports_that_nobody_names_are_as_usual() -> None:
    assert ports_of(["mlflow=5001"]) == Ports(mlflow=5001)


def test_a_folder_that_is_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * LONGEST_FOLDER)
    with pytest.raises(UserError, match="sockets below it would be too long"):
        Settings(folder=deep, storage="runs").check()


def test_secrets_are_made_once_and_their_owners_alone(tmp_path: Path) -> None:
    first = Keys(tmp_path).value("token")
    assert Keys(tmp_path).value("token") == first
    assert Keys(tmp_path).value("other") != first
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "secrets" / "token").stat().st_mode) == 0o600


def test_a_secret_that_others_could_read_is_closed_before_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "open"
    file.write_text("old")
    file.chmod(0o644)
    write_secret(file, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == "new"


def sleeper(tmp_path: Path) -> tuple[subprocess.Popen, Process]:
    """A service whose child outlives it, unless somebody sees to it."""
    script = "trap 'exit 0' TERM; sleep 300 & wait"
    child = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    born = psutil.Process(child.pid).create_time()
    return child, Process(name="sleeper", pid=child.pid, born=born, log=tmp_path / "log")


def test_down_ends_a_service_with_everything_that_it_has_started(tmp_path: Path) -> None:
    child, process = sleeper(tmp_path)
    while not (inner := psutil.Process(child.pid).children()):
        pass
    record = Record(settings=Settings(folder=tmp_path, storage="runs"), processes=[process])
    record.write()
    assert Record.read(tmp_path) == record
    assert record.stop() == ["sleeper"]
    assert not process.alive
    assert not any(each.is_running() and each.status() != "zombie" for each in inner)
    assert Record.read(tmp_path) is None
    child.wait()


def test_a_pid_that_somebody_else_has_by_now_is_left_alone(tmp_path: Path) -> None:
    child, process = sleeper(tmp_path)
    reused = process.model_copy(update={"born": process.born - 3600})
    assert not reused.alive
    child.terminate()
    child.wait()


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    done = call("down", "--folder", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout == f"nothing runs in {tmp_path}\n"


def test_up_with_a_bad_port_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = call("up", "--folder", str(tmp_path), "--port", "mlflow=x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --port mlflow=x: expected NAME=PORT")
    assert done.stderr.count("\n") == 1


def test_places_are_those_of_the_folder_where_up_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        folder=tmp_path / "lab", storage="results", roots=("images", "s3://team/images", "/data")
    )
    assert settings.storage == str(tmp_path / "results")
    assert settings.roots == (str(tmp_path / "images"), "s3://team/images", "/data")
    assert Settings(folder=tmp_path, storage="s3://team/runs").storage == "s3://team/runs"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--root", "nothing-here"), "error: --root {cwd}/nothing-here: there is no such folder\n"),
        (("--storage", "ftp://team/runs"), "error: ftp://team/runs: no file system is called ftp"),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_starts(
    tmp_path: Path, folder: Path, options: tuple[str, ...], told: str
) -> None:
    ports = [f"--port={name}={free_port()}" for name in Ports.model_fields]
    done = call("up", "--folder", str(folder), *ports, *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(told.format(cwd=tmp_path))
    assert done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets, and open to PostgreSQL's own user."""
    place = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    call("down", "--folder", str(place))
    shutil.rmtree(place, ignore_errors=True)


def get(url: str, header: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": header} if header else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.own_cluster
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/usr/lib/postgresql").is_dir(), reason="no PostgreSQL here")
def test_a_secure_lab_goes_up_asks_who_is_there_and_goes_down_whole(folder: Path) -> None:
    ports = {name: free_port() for name in ("ray", "jobs", "mlflow", "dashboard")}
    options = [word for name, port in ports.items() for word in ("--port", f"{name}={port}")]
    up = call("up", "--folder", str(folder), "--secure", "--cpus", "1", *options)
    assert up.returncode == 0, up.stderr
    record = Record.read(folder)
    assert record is not None
    started = [process.name for process in record.processes]
    assert started[:5] == ["PostgreSQL", "MLflow", "Ray head", "Ray node 1", "Ray node 2"]

    secrets = folder / "secrets"
    search = f"http://127.0.0.1:{ports['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1"
    login = b64encode(f"admin:{(secrets / 'mlflow_password').read_text()}".encode()).decode()
    assert get(search) == 401
    assert get(search, f"Basic {login}") == 200
    nodes = f"http://127.0.0.1:{ports['jobs']}/nodes?view=summary"
    token = (secrets / "ray_token").read_text()
    assert get(nodes) == 401
    request = urllib.request.Request(nodes, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert len(json.load(answer)["data"]["summary"]) == 3
    for file in (*secrets.iterdir(), folder / "env"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for secret in (token, (secrets / "postgres").read_text()):
        shown = [" ".join(process.cmdline()) for process in psutil.process_iter()]
        assert not any(secret in line for line in shown), "other users see command lines"

    again = call("up", "--folder", str(folder))
    assert again.returncode == 0
    assert again.stdout.startswith("it is up already:")
    elsewhere = folder / "second"
    elsewhere.mkdir()
    taken = call("up", "--folder", str(elsewhere), *options)
    assert taken.returncode == 2
    assert f"port {ports['ray']} (ray) is taken" in taken.stderr

    down = call("down", "--folder", str(folder))
    assert down.returncode == 0
    assert down.stdout == f"ended: {', '.join(started)}\n"
    sessions = {process.pid for process in record.processes}
    assert [line for process in psutil.process_iter() if (line := _of(process, sessions))] == []


def _of(process: psutil.Process, sessions: set[int]) -> str:
    """The command of a process that runs in one of the sessions."""
    try:
        mine = process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) in sessions
        return " ".join(process.cmdline()) if mine else ""
    except (psutil.Error, ProcessLookupError):
        return ""
