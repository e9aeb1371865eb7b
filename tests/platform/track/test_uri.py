"""Where MLflow's data goes: what users write, and what they are told."""

import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
from mlflow import MlflowClient

from mimlab.errors import UserError
from mimlab.track.uri import resolve_tracking


def test_null_is_a_database_beside_the_results(tmp_path: Path) -> None:
    target = resolve_tracking(None, tmp_path)
    assert target.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert target.artifact_root == f"{tmp_path}/mlartifacts"
    assert target.ui_command == f"mlflow ui --backend-store-uri {target.uri}"


def test_the_command_can_be_pasted_even_if_the_folder_has_a_space(tmp_path: Path) -> None:
    target = resolve_tracking(None, tmp_path / "my runs")
    assert target.ui_command.endswith(f"'sqlite:///{tmp_path}/my runs/mlflow.db'")


def test_a_relative_database_no_longer_depends_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_tracking("sqlite:///a.db", "runs").uri == f"sqlite:///{tmp_path}/a.db"


def test_a_server_is_itself_what_to_look_at() -> None:
    target = resolve_tracking("http://lab:5000/", "s3://team/runs")
    assert (target.uri, target.artifact_root) == ("http://lab:5000", None)
    assert target.ui_command == "http://lab:5000/"


@pytest.mark.parametrize(
    ("uri", "storage", "remedy"),
    [
        ("file:///tmp/mlruns", "runs", "file store.*use null"),
        ("./mlruns", "runs", "file store.*sqlite:///path/mlflow.db"),
        ("postgresql://db/mlflow", "runs", "start `mlflow server`"),
        ("http://ada:secret@lab:5000", "runs", "MLFLOW_TRACKING_PASSWORD"),
        ("sqlite:////tmp/a.db", "s3://team/runs", "local database but storage is s3://team/runs"),
        (None, "s3://team/runs", "set tracking.uri to its http:// address"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(
    uri: str | None, storage: str, remedy: str
) -> None:
    with pytest.raises(UserError, match=f"tracking.uri: .*{remedy}") as refusal:
        resolve_tracking(uri, storage)
    assert "secret" not in str(refusal.value)


@pytest.mark.slow
def test_the_command_shows_the_results_pictures_included(make_lab, serve, tmp_path: Path) -> None:
    target = resolve_tracking(None, tmp_path / "my runs")
    lab = make_lab(target.uri)
    view, [trial] = lab.opened()
    lab.board(trial, 100)
    assert view.close()
    server = serve(target.ui_command)
    client = MlflowClient(tracking_uri=server.uri)
    run = client.get_run(lab.run(trial).info.run_id)
    files = client.list_artifacts(run.info.run_id, "images")
    [picture] = [file.path for file in files if file.path.endswith(".png")]
    query = urlencode({"path": picture, "run_uuid": run.info.run_id})
    with urllib.request.urlopen(f"{server.uri}/get-artifact?{query}", timeout=10) as answer:
        assert answer.read().startswith(b"\x89PNG")
