"""PostgreSQL for MLflow: its own data folder, reached by a socket alone, never by the network."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from mimlab.errors import UserError
from one_machine.keys import Keys, write_secret
from one_machine.service import Service
from one_machine.settings import Settings, database_user

USER = "mlflow"
DEBIAN = Path("/usr/lib/postgresql")
PROGRAMS = ("initdb", "postgres", "pg_isready", "psql", "createdb")


class Postgres:
    """The database server below the folder of `settings`."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._folder = settings.folder / "postgres"
        self._data = self._folder / "data"
        self._password = keys.value("postgres")
        self._user = database_user()
        self._bin = _programs()

    def prepare(self) -> None:
        """Make the data folder where there is none yet. Raises UserError."""
        if (self._data / "PG_VERSION").exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        password_file = self._folder / "password"
        write_secret(password_file, self._password)
        if self._user is not None:
            shutil.chown(self._folder, self._user, self._user)
            shutil.chown(password_file, self._user, self._user)
        shutil.rmtree(self._data, ignore_errors=True)  # of an `initdb` that was interrupted
        options = ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"]
        self._run("initdb", f"--pgdata={self._data}", f"--username={USER}", *options)
        password_file.unlink()

    def service(self) -> Service:
        """The server itself, run as a user that is not root."""
        settings = ["listen_addresses=", f"unix_socket_directories={self._folder}"]
        settings += ["unix_socket_permissions=0777", "logging_collector=off"]
        return Service(
            name="PostgreSQL",
            command=[
                str(self._bin / "postgres"),
                *("-D", str(self._data)),
                *(word for setting in settings for word in ("-c", setting)),
            ],
            ready=self._is_ready,
            user=self._user,
            stop_signal=signal.SIGINT,  # its fast shutdown: ends sessions, keeps what is written
        )

    def make_database(self, name: str) -> str:
        """SQLAlchemy's address of the database `name`, which is made where it is missing."""
        asked = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
        found = self._run("psql", "--dbname=postgres", "-tAc", asked, *self._login())
        if not found.strip():
            self._run("createdb", name, *self._login())
        socket = quote(str(self._folder), safe="")
        return f"postgresql+psycopg2://{USER}:{self._password}@/{name}?host={socket}"

    def _login(self) -> list[str]:
        return [f"--host={self._folder}", f"--username={USER}"]

    def _is_ready(self) -> bool:
        command = [str(self._bin / "pg_isready"), *self._login(), "--quiet"]
        return subprocess.run(command, user=self._user, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            env={"PGPASSWORD": self._password, "LC_ALL": "C.UTF-8"},
            cwd="/",
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def _programs() -> Path:
    """The folder of PostgreSQL's programs, all of them. Raises UserError where there is none."""
    found = shutil.which("initdb")
    on_path = [] if found is None else [Path(found).parent, Path(found).resolve().parent]
    newest_first = sorted(DEBIAN.glob("*/bin"), key=lambda folder: folder.parent.name, reverse=True)
    for folder in (*on_path, *newest_first):
        if all((folder / program).exists() for program in PROGRAMS):
            return folder
    raise UserError(
        "PostgreSQL is not installed here: it is neither on PATH nor below /usr/lib/postgresql; "
        "install it, on Debian by `apt-get install postgresql`"
    )
