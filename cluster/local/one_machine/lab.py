"""Everything together: started in order, ended when one part does not start."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from one_machine import services
from one_machine.keys import Keys, write_secret
from one_machine.ports import refuse_taken
from one_machine.postgres import Postgres
from one_machine.record import Record
from one_machine.service import Service, start, wait
from one_machine.services import ADMIN, HOST
from one_machine.settings import Settings


class Lab:
    """Ray, PostgreSQL, MLflow and the dashboard on this machine."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._keys = Keys(settings.folder)
        self._record = Record(settings=settings)

    def up(self) -> None:
        """Start everything. Raises UserError, with nothing left running, where that fails."""
        settings = self._settings
        settings.check()
        refuse_taken(settings.ports)
        (settings.folder / "logs").mkdir(parents=True, exist_ok=True)
        postgres = Postgres(settings, self._keys)
        postgres.prepare()
        try:
            self._start(postgres.service())
            tables = postgres.make_database("mlflow")
            logins = postgres.make_database("mlflow_logins")
            self._start(services.mlflow(settings, self._keys, database=tables, users=logins))
            extra = self._addresses()
            self._start(services.head(settings, self._keys, extra))
            for number in range(1, settings.nodes + 1):
                self._start(services.node(settings, self._keys, number, extra))
            if services.has_dashboard():
                self._start(services.dashboard(settings, self._client_env()))
        except BaseException:
            self._record.stop()
            raise
        self._write_env()
        self.say_where()

    def _start(self, service: Service) -> None:
        process = start(service, self._settings.folder / "logs")
        self._record.processes.append(process)
        self._record.write()
        wait(service, process)
        self._say(f"{service.name} serves")

    def _addresses(self) -> dict[str, str]:
        """What drivers on the cluster are told, and whoever sends them there."""
        ports = self._settings.ports
        told = {"MLFLOW_TRACKING_URI": f"http://{HOST}:{ports.mlflow}"}
        if services.has_dashboard():
            told["MIMLAB_DASHBOARD_URL"] = f"http://{HOST}:{ports.dashboard}"
        if self._settings.secure:
            password = self._keys.value("mlflow_password")
            told |= {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": password}
        return told

    def _client_env(self) -> dict[str, str]:
        address = {"RAY_ADDRESS": f"{HOST}:{self._settings.ports.ray}"}
        return address | services.ray_env(self._keys) | self._addresses()

    def _write_env(self) -> None:
        lines = [f"export {name}={shlex.quote(text)}" for name, text in self._client_env().items()]
        write_secret(self._settings.folder / "env", "\n".join(lines) + "\n")

    def say_where(self) -> None:
        """Print where each service is, and how to log in."""
        settings, ports = self._settings, self._settings.ports
        secrets = settings.folder / "secrets"
        lines = [f"MLflow      http://{HOST}:{ports.mlflow}"]
        if settings.secure:
            lines.append(f"            user {ADMIN}, password in {secrets / 'mlflow_password'}")
        lines.append(f"Ray         http://{HOST}:{ports.jobs}")
        lines.append(f"            token in {secrets / 'ray_token'}")
        if services.has_dashboard():
            lines.append(f"dashboard   http://{HOST}:{ports.dashboard}")
            if settings.secure:
                add = f"mimlab user add NAME --role operator --storage {settings.storage}"
                lines.append(f"            give yourself a token:  {add}")
        lines += [
            "",
            f"in a shell:  . {settings.folder / 'env'}",
            f"then:        mimlab run sweeps/quickstart.yaml --set storage={settings.storage}",
        ]
        self._say("\n".join(lines))
