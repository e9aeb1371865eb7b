"""Bills of pasted studies: measured one after the other, each by a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mimlab.errors import UserError
from mimlab.search.preview import Preview
from mimlab.serve.checking import Checker, PastedStudy, command_options
from mimlab.serve.errors import ApiError

LIMIT_S = 900.0
MAX_WAITING = 8
"""Plans that wait or run; a further one is refused."""
MAX_KEPT = 50
"""Results that are remembered."""


class PlanResult(BaseModel):
    """A plan, as far as it has come."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    plan: Preview | None = None
    """The trials, and the bill."""
    error: str | None = None
    """Why there is none."""


@dataclass
class Plans:
    """Makes them in the background. Results are kept in memory: a plan is quickly made again."""

    checker: Checker
    limit_s: float = LIMIT_S
    here: bool = True
    """Whether studies run on this machine, and not on a cluster that has what it lacks."""
    _results: dict[str, tuple[str, PlanResult]] = field(default_factory=dict)
    """By id: whose, and what."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="plan")
    )
    _process: subprocess.Popen[str] | None = None

    def start(self, pasted: PastedStudy, user: str) -> PlanResult:
        """Raises UserError for a study that is not sound, ApiError while too many wait."""
        self.checker.loaded(pasted)
        plan = PlanResult(id=secrets.token_urlsafe(12), state="waiting")
        with self._lock:
            busy = sum(r.state in ("waiting", "running") for _, r in self._results.values())
            if busy >= MAX_WAITING:
                raise ApiError(429, f"{busy} plans are being measured already", retry_s=30)
            self._results[plan.id] = (user, plan)
            for old in list(self._results)[:-MAX_KEPT]:
                del self._results[old]
        self._pool.submit(self._make, plan, pasted)
        return plan

    def get(self, plan_id: str, user: str) -> PlanResult | None:
        """A plan of the user's; None if there is none, or none any more."""
        owner, result = self._results.get(plan_id, ("", None))
        return result if owner == user else None

    def close(self) -> None:
        """End what is being measured, and start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if (process := self._process) is not None:
            _kill(process)
        self._pool.shutdown()

    def _make(self, plan: PlanResult, pasted: PastedStudy) -> None:
        self._note(plan.model_copy(update={"state": "running"}))
        try:
            with self.checker.written(pasted) as file:
                options = command_options(pasted, self.checker.overrides(pasted))
                shown = self._measured([str(file), *options], str(file.parent))
            done = plan.model_copy(update={"state": "done", "plan": shown})
        except (UserError, OSError, ValueError) as error:
            done = plan.model_copy(update={"state": "failed", "error": str(error)})
        self._note(done)

    def _measured(self, words: list[str], folder: str) -> Preview:
        where = [] if self.here else ["--elsewhere"]
        command = [sys.executable, "-P", "-m", "mimlab.cli.main", "plan", "--json", *where, *words]
        with subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            self._process = process
            try:
                out, said = process.communicate(timeout=self.limit_s)
            except subprocess.TimeoutExpired as error:
                _kill(process)
                raise UserError(
                    f"the plan was not made within {self.limit_s:g} seconds; ask for a smaller "
                    "study, or run `mimlab plan` where there is time"
                ) from error
            finally:
                self._process = None
        if process.returncode:
            raise UserError(said.strip().removeprefix("error: ") or "the plan was ended")
        return Preview.model_validate_json(out)

    def _note(self, plan: PlanResult) -> None:
        with self._lock:
            if plan.id in self._results:
                self._results[plan.id] = (self._results[plan.id][0], plan)


def _kill(process: subprocess.Popen[str]) -> None:
    """With everything that it started, and that has not left its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
