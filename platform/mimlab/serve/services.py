"""What the routes work with: made once, from the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request

from mimlab.actions.launch import Launcher
from mimlab.serve.checking import Checker
from mimlab.serve.errors import ApiError
from mimlab.serve.identity.callers import Caller, Callers
from mimlab.serve.identity.permissions import Action
from mimlab.serve.identity.sessions import Sessions
from mimlab.serve.identity.sign_key import sign_key
from mimlab.serve.identity.users import Users
from mimlab.serve.plans import Plans
from mimlab.serve.queue.admission import Admission
from mimlab.serve.queue.folder import Queue
from mimlab.serve.queue.queued import Queued
from mimlab.serve.queue.records import Need, QueueEntry
from mimlab.serve.reading import Reading
from mimlab.serve.security.rates import MAX_OF_ADDRESS, FailureLimit
from mimlab.serve.security.roots import Roots
from mimlab.serve.settings import Settings
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.ownership import owner_of
from mimlab.storage.store import Store


@dataclass(frozen=True)
class Services:
    """Everything that a request may need; nothing of it is lost with the process."""

    settings: Settings
    store: Store
    reading: Reading
    users: Users
    sessions: Sessions
    callers: Callers
    checker: Checker
    plans: Plans
    queue: Queue
    admission: Admission

    @classmethod
    def of(cls, settings: Settings, launcher: Launcher) -> Services:
        """Raises UserError for settings that cannot be."""
        store = Store(settings.storage)
        users = Users(store)
        has_users = users.any()
        settings.check(has_users=has_users)
        sessions = Sessions(sign_key(store), users)
        checker = Checker(store, Roots.of(settings.roots, store.root))
        queue = Queue(store)
        return cls(
            settings=settings,
            store=store,
            reading=Reading(store, mlflow_page=settings.mlflow_page),
            users=users,
            sessions=sessions,
            callers=Callers(
                users,
                sessions,
                FailureLimit(),
                FailureLimit(limit=MAX_OF_ADDRESS),
                # A folder of users that vanishes, with its disk, lets nobody in.
                users_only=settings.users_only or has_users,
            ),
            checker=checker,
            plans=Plans(checker, here=settings.address is None),
            queue=queue,
            admission=Admission(queue, launcher),
        )

    def launcher(self, caller: Caller, need: Need | None = None) -> Launcher:
        """Starts things for a caller, when it is their turn; `need`: of what has no folder yet."""
        return Queued(self.queue, self.admission.launcher, caller.name, need)

    def submission(self, submission_id: str) -> SubmissionFolder:
        """One that the storage lists. Raises ApiError 404."""
        if submission_id not in self.store.list("submissions"):
            raise ApiError(404, f"there is no submission {submission_id!r}")
        return SubmissionFolder(self.store, submission_id)

    def trial(self, submission_id: str, trial_id: str) -> TrialFolder:
        """One that a submission lists. Raises ApiError 404."""
        for trial in self.submission(submission_id).trials():
            if trial.id == trial_id:
                return trial
        raise ApiError(404, f"submission {submission_id} has no trial {trial_id!r}")

    def known_trials(self, trial_ids: Sequence[str]) -> None:
        """Raises ApiError 404 unless the storage lists them all."""
        known = set(self.store.list("trials"))
        if missing := [each for each in trial_ids if each not in known]:
            raise ApiError(404, f"there is no trial {missing[0]!r}")

    def known_board(self, trial_id: str, step: int) -> None:
        """Raises ApiError 404 unless the storage lists it."""
        self.known_trials([trial_id])
        if f"{step:09d}.png" not in self.store.list(f"trials/{trial_id}/boards"):
            raise ApiError(404, f"trial {trial_id} has no board of step {step}")

    def permit(self, caller: Caller, action: Action, submission_id: str) -> None:
        """Raises ApiError unless a caller may do this to a submission: 403, or 404."""
        caller.require(action, self.owner(submission_id))

    def owner(self, submission_id: str) -> str:
        """Who submitted what the storage lists, or the queue alone. Raises ApiError 404."""
        if submission_id in self.store.list("submissions"):
            return SubmissionFolder(self.store, submission_id).record().user
        return self.queued(submission_id).user

    def queued(self, submission_id: str) -> QueueEntry:
        """The newest entry by which a submission was to run. Raises ApiError 404."""
        found = [e for e in self.queue.entries() if e.submission == submission_id]
        if not found:
            raise ApiError(404, f"there is no submission {submission_id!r}")
        return found[-1]

    def permit_trial(
        self, caller: Caller, action: Action, submission_id: str, trial_id: str
    ) -> None:
        """The same of one trial: equal trials of several submissions are one, which belongs to
        whoever runs it."""
        self.permit(caller, action, submission_id)
        owner = owner_of(self.trial(submission_id, trial_id))
        if owner is not None and owner != submission_id:
            self.permit(caller, action, owner)


def add_services(app: FastAPI, services: Services) -> None:
    """Let routes and pages find them."""
    app.state.services = services


def services_of(app: FastAPI) -> Services:
    """Those of an app."""
    return app.state.services


def services(request: Request) -> Services:
    """Those that a request is answered with."""
    return services_of(request.app)


def caller(request: Request) -> Caller:
    """Who sent a request. Raises ApiError."""
    return services(request).callers.of(request)


def allowed(action: Action) -> Callable[[Request], Caller]:
    """A dependency: who sent a request that takes this permission. Raises ApiError."""

    def checked(request: Request) -> Caller:
        found = caller(request)
        found.require(action)
        return found

    return checked
