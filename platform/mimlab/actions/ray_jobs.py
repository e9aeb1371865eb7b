"""Drivers as jobs of a Ray cluster, by its Jobs API
(docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html)."""

from __future__ import annotations

import functools
import ipaddress
import logging
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mimlab.actions.launch import tail
from mimlab.errors import NotNow, UserError

MAX_BYTES = 250 * 2**20
"""Of what is sent along with a job: Ray keeps it in the head's memory and takes 512 MB at most."""

STOP_WAIT_S = 120
"""Between SIGTERM and SIGKILL when a job is stopped: its trials save meanwhile."""

AGENT_S = 60.0
"""For a head to become ready: its dashboard answers some seconds before it takes jobs."""
ENDING_S = 15.0
"""For a driver that has let its submission go to be noticed as ended by Ray."""
_NO_AGENT = "No available agent"

_STATES = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "ended",
    "SUCCEEDED": "ended",
    "FAILED": "failed",
}
_OF = "mimlab_submission"
"""Key of a job's metadata: which submission it drives."""


class RayJobs:
    """Each start of a submission is a job: the first has its id, later ones `-2`, `-3`, …"""

    def __init__(self, address: str, python: str | None = None, *, page: str | None = None) -> None:
        """`address`: of the head's dashboard, `http://head:8265`; `python`: the interpreter of the
        cluster that has Ray, by default this one where the head is this machine, else `python`;
        `page`: where a browser reaches that dashboard, if elsewhere.

        Asks nobody. Raises UserError for an address of another kind.
        """
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"--address {address}: a head's dashboard is http://HOST:8265, or https://"
            )
        self.address = address
        self._page = (page or address).rstrip("/")
        self._host = parts.hostname
        self._named_python = python

    @property
    def is_remote(self) -> bool:
        """Whether the head is another machine, which need not see this one's folders.

        An address of this machine may be a tunnel's end, so that the head is asked for its nodes,
        until it has answered; False meanwhile.
        """
        if not _is_here(self._host):
            return True
        try:
            names = self._nodes
        except (UserError, NotNow, ValueError, LookupError, TypeError):
            return False
        return bool(names) and socket.gethostname() not in names

    @functools.cached_property
    def _nodes(self) -> list[str]:
        """Host names of the cluster's nodes when it was first asked for them."""
        answer = self._asked("_do_request", "GET", "/nodes?view=hostnamelist")
        return answer.json()["data"]["hostNameList"]

    @property
    def _python(self) -> str:
        return self._named_python or ("python" if self.is_remote else sys.executable)

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        """See `Launcher`. Raises UserError, too, for a package that Ray does not take."""
        from mimlab.search.ray_settings import SETTINGS

        environment: dict[str, Any] = {
            "env_vars": SETTINGS
            | {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
        }
        if working_dir is not None:
            refuse_large(working_dir)
            environment["working_dir"] = str(working_dir)
        number = len(self._ended_jobs(submission_id)) + 1
        self._started(
            entrypoint=shlex.join([self._python, "-m", "mimlab.cli.main", *words]),
            submission_id=submission_id if number == 1 else f"{submission_id}-{number}",
            runtime_env=environment,
            metadata={_OF: submission_id, "mimlab_start": str(number)},
        )

    def state(self, submission_id: str) -> str | None:
        """See `Launcher`."""
        jobs = self._jobs(submission_id)
        return _STATES[jobs[-1].status] if jobs else None

    def log_tail(self, submission_id: str, lines: int) -> str:
        """See `Launcher`; where a job has said nothing, what Ray says of it."""
        jobs = self._jobs(submission_id)
        if not jobs:
            return ""
        said = self._asked("get_job_logs", jobs[-1].submission_id)
        return tail(said if said.strip() else jobs[-1].message or "", lines)

    def page(self, submission_id: str) -> str | None:
        """See `Launcher`; of what was started elsewhere, the list of all jobs."""
        jobs, listed = self._jobs(submission_id), f"{self._page}/#/jobs"
        return f"{listed}/{jobs[-1].submission_id}" if jobs else listed

    def stop(self, submission_id: str) -> None:
        """See `Launcher`."""
        jobs = self._jobs(submission_id)
        if jobs and _STATES[jobs[-1].status] in ("pending", "running"):
            self._asked("stop_job", jobs[-1].submission_id)

    def _started(self, **job: Any) -> None:
        """Send a job, waiting a little for a head that has only just begun."""
        deadline = time.monotonic() + AGENT_S
        while True:
            try:
                self._asked("submit_job", **job)
                return
            except UserError as error:
                if _NO_AGENT not in str(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(1.0)

    def _ended_jobs(self, submission_id: str) -> list[Any]:
        """All of a submission, waiting a little for a driver that is done to end its job, too."""
        deadline = time.monotonic() + ENDING_S
        while True:
            jobs = self._jobs(submission_id)
            state = _STATES[jobs[-1].status] if jobs else "ended"
            if state in ("ended", "failed"):
                return jobs
            if state == "pending" or time.monotonic() >= deadline:
                raise UserError(f"submission {submission_id} has a job at {self.address} already")
            time.sleep(0.5)

    def _jobs(self, submission_id: str) -> list[Any]:
        """Of a submission, oldest first."""
        found = [
            job
            for job in self._asked("list_jobs")
            if job.submission_id and (job.metadata or {}).get(_OF) == submission_id
        ]
        return sorted(found, key=lambda job: int(job.metadata["mimlab_start"]))

    def _asked(self, method: str, *args: Any, **kwargs: Any) -> Any:
        from ray.exceptions import RayError

        try:
            return getattr(self._client, method)(*args, **kwargs)
        except (RayError, OSError, RuntimeError, ValueError) as error:
            kind = NotNow if _is_away(error) else UserError
            raise kind(f"{self.address}: {_words(error)}") from error

    @functools.cached_property
    def _client(self) -> Any:
        from mimlab.search import ray_settings

        ray_settings.apply_token()
        from ray.job_submission import JobSubmissionClient  # takes seconds

        # Which sets a level of its own when it is imported, and tells of each upload.
        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)
        return JobSubmissionClient(self.address)


def refuse_large(package: Path) -> None:
    """Raises UserError for a package that Ray would not take, with its size."""
    size = package.stat().st_size
    if size > MAX_BYTES:
        raise UserError(
            f"what the study sends along is {size / 2**20:,.0f} MiB, and a Ray head takes "
            f"{MAX_BYTES / 2**20:.0f} MiB; put weights where the cluster sees them, e.g. on "
            "s3://, or name a trial: `backbone: {init: trial:ID}`"
        )


def _is_away(error: Exception) -> bool:
    """Whether nobody answered: Ray's own ConnectionError, or one of `requests`, an OSError too."""
    return isinstance(error, OSError) and "connect" in str(error).lower()


def _words(error: Exception) -> str:
    if _is_away(error):
        return "no Ray dashboard answers there; start the cluster, or name another address"
    if _NO_AGENT in str(error):
        return (
            f"{_NO_AGENT}: the head takes no jobs; its dashboard_agent.log says why (mostly its "
            "--dashboard-agent-listen-port is taken)"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    if "401" in said or "nauthor" in said or "token" in said.lower():
        return f"the head refuses this user ({said}); RAY_AUTH_TOKEN must be that of its cluster"
    return said


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by name or by an address of its own."""
    if host in ("localhost", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    # Only an address of this machine can be bound to.
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
