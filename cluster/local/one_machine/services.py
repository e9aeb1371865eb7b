"""The services, each as a command, what it is told, and how one sees that it serves."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from mimlab.errors import UserError
from one_machine.keys import Keys, write_secret
from one_machine.ports import free_port
from one_machine.service import Service, answers
from one_machine.settings import Settings

HOST = "127.0.0.1"
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
STORE_BYTES = 500_000_000
"""Of a node's shared memory: several nodes share the machine's."""
ADMIN = "admin"


def ray_env(keys: Keys) -> dict[str, str]:
    """What Ray's processes, and whoever joins them, are told.

    The token is there with and without --secure: who reaches Ray's ports can run code.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(keys.path("ray_token")),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Several nodes of one machine would each take 95 % of its memory as their own limit.
        "RAY_memory_monitor_refresh_ms": "0",
    }


def head(settings: Settings, keys: Keys, extra: dict[str, str]) -> Service:
    """Ray's head, with its page and Jobs API; `extra`: what drivers on it are told besides."""
    ports = settings.ports
    jobs, token = f"http://{HOST}:{ports.jobs}", keys.value("ray_token")
    return Service(
        name="Ray head",
        command=[
            *RAY,
            "--head",
            f"--port={ports.ray}",
            f"--dashboard-host={HOST}",
            f"--dashboard-port={ports.jobs}",
            "--include-dashboard=true",
            f"--ray-client-server-port={free_port()}",
            *_node(settings, "ray", cpus=0, gpus=0),
        ],
        ready=lambda: answers(f"{jobs}/api/version", token=token, contains="ray_version"),
        env=ray_env(keys) | extra,
    )


def node(settings: Settings, keys: Keys, number: int, extra: dict[str, str]) -> Service:
    """A node that joins the head; `number` counts from 1."""
    token, ports = keys.value("ray_token"), settings.ports
    nodes = f"http://{HOST}:{ports.jobs}/nodes?view=summary"
    name = f"node-{number}"
    gpus = settings.gpus // settings.nodes + (number <= settings.gpus % settings.nodes)
    return Service(
        name=f"Ray node {number}",
        command=[
            *RAY,
            f"--address={HOST}:{ports.ray}",
            f'--resources={{"{name}": 1}}',
            *_node(settings, f"ray{number}", cpus=settings.cpus, gpus=gpus),
        ],
        ready=lambda: answers(nodes, token=token, contains=name),
        env=ray_env(keys) | extra,
    )


def _node(settings: Settings, folder: str, *, cpus: int, gpus: int) -> list[str]:
    return [
        f"--node-ip-address={HOST}",
        f"--num-cpus={cpus}",
        f"--num-gpus={gpus}",
        f"--object-store-memory={STORE_BYTES}",
        # Nodes of one machine would all take the same defaults. In one folder each would unpack a
        # job's code once more, while processes of the others read it.
        f"--temp-dir={settings.folder / folder}",
        f"--dashboard-agent-listen-port={free_port()}",
        f"--metrics-export-port={free_port()}",
    ]


def mlflow(settings: Settings, keys: Keys, *, database: str, users: str) -> Service:
    """MLflow's server; `database` and `users`: addresses of its tables, and of its logins."""
    port = settings.ports.mlflow
    # More than one worker would be killed by their parent where a busy machine starts them slowly.
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", HOST, "--port", str(port)]
    command += ["--artifacts-destination", str(settings.folder / "artifacts")]
    env = {
        # Not as an option: everybody on this machine sees those.
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if settings.secure:
        command += ["--app-name", "basic-auth"]
        env |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(_logins(settings.folder, keys, users)),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": keys.value("mlflow_cookies"),
        }
    ready = f"http://{HOST}:{port}/health"
    return Service("MLflow", command, lambda: answers(ready, contains="OK"), env)


def _logins(folder: Path, keys: Keys, users: str) -> Path:
    """MLflow's own settings of its logins, in a file that only its owner reads."""
    lines = [
        "[mlflow]",
        "default_permission = READ",
        # An INI file takes a per cent sign for a variable.
        f"database_uri = {users.replace('%', '%%')}",
        f"admin_username = {ADMIN}",
        f"admin_password = {keys.value('mlflow_password')}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
    ]
    file = folder / "secrets" / "mlflow_auth.ini"
    write_secret(file, "\n".join(lines) + "\n")
    return file


def has_dashboard() -> bool:
    """Whether this mimlab has a `dashboard` command."""
    return importlib.util.find_spec("mimlab.cli.dashboard") is not None


def dashboard(settings: Settings, env: dict[str, str]) -> Service:
    """mimlab's own pages, which send studies to Ray's Jobs API."""
    ports = settings.ports
    address = f"http://{HOST}:{ports.dashboard}"
    return Service(
        name="dashboard",
        command=[
            *mimlab(),
            "dashboard",
            *("--storage", settings.storage),
            *("--port", str(ports.dashboard)),
            *("--address", f"http://{HOST}:{ports.jobs}"),
            *("--root", f"http://{HOST}:{ports.mlflow}"),
            *(word for root in settings.roots for word in ("--root", root)),
            *(["--users-only"] if settings.secure else []),
        ],
        ready=lambda: answers(f"{address}/api/v1/openapi.json", contains="openapi"),
        env=env,
    )


def mimlab() -> list[str]:
    """The command `mimlab` of this Python."""
    beside = Path(sys.executable).with_name("mimlab")
    if beside.exists():
        return [str(beside)]
    found = shutil.which("mimlab")
    if found is None:
        raise UserError("there is no command `mimlab` here; install it: `pip install -e .[server]`")
    return [found]
