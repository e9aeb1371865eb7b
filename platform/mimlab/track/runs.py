"""Experiments and runs, found again before they are made."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from mimlab.storage.machine import machine
from mimlab.storage.records import MlflowLink
from mimlab.storage.store import Store
from mimlab.track import tags
from mimlab.track.client import is_missing
from mimlab.track.labels import MAX_TAG
from mimlab.track.sent import Sent
from mimlab.track.status import ENDED, RunStatus
from mimlab.track.uri import artifact_root

_log = logging.getLogger(__name__)
# Without it MLflow's pages guess what kind of experiment this is, and ask.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


@dataclass(frozen=True)
class RunPlan:
    """A run that a folder asks for."""

    link: str
    """The folder's file of `link_name`."""
    identified_by: str
    """Tag whose value finds the run again if the process died before the link was written."""
    name: str
    tags: Mapping[str, str]
    """With `identified_by`; set when the run is made."""
    started: Callable[[], int | None]
    """When it began, in Unix milliseconds, asked if the run is made; None: now."""


def link_name(uri: str, *, own: bool) -> str:
    """File of a folder that says which run shows it at `uri`: its own MLflow, or another one."""
    return "mlflow.json" if own else f"mlflow-{hashlib.sha256(uri.encode()).hexdigest()[:8]}.json"


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Id of the experiment `name`: reused, restored if it was deleted, or created."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=artifact_root(uri), tags=_KIND)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def open_run(
    client: MlflowClient, store: Store, uri: str, experiment: str, plan: RunPlan, sent: Sent
) -> Run:
    """The run of `plan`: by its link, else by its tag, else new; the link is kept up to date."""
    link = store.read_record(plan.link, MlflowLink)
    here = link if link and link.tracking_uri == uri else None
    storage = _hash_of(store)
    run = (here and _linked(client, here)) or _tagged(client, experiment, plan, storage)
    if run is None:
        _say_new(plan, link)
        first = {**plan.tags, tags.STORAGE: storage}
        run = client.create_run(experiment, plan.started(), first, plan.name)
        sent.runs += 1
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(run.info.run_id)
    current = MlflowLink(
        tracking_uri=uri, experiment_id=run.info.experiment_id, run_id=run.info.run_id
    )
    if link != current:
        store.write_record(plan.link, current)
    return run


def set_tags(client: MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    """All `values` in one request."""
    cut = [RunTag(key, value[:MAX_TAG]) for key, value in values.items()]
    client.log_batch(run_id, tags=cut, synchronous=True)


def set_status(client: MlflowClient, run_id: str, status: RunStatus, *, ended: str) -> None:
    """`ended`: ISO 8601, of a status that ends the run."""
    if status in ENDED:
        client.set_terminated(run_id, status, unix_ms(ended))
    else:
        client.update_run(run_id, status)


def unix_ms(time: str) -> int | None:
    """Unix milliseconds of an ISO 8601 time; None where it is empty or not one."""
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return None


def add_params(client: MlflowClient, run: Run, values: Mapping[str, str]) -> None:
    """Log the parameters that `run` does not have; MLflow refuses to change one."""
    missing = [Param(k, v) for k, v in values.items() if k not in run.data.params]
    client.log_batch(run.info.run_id, params=missing, synchronous=True)


def _linked(client: MlflowClient, link: MlflowLink) -> Run | None:
    try:
        return client.get_run(link.run_id)
    except MlflowException as error:
        if not is_missing(error):
            raise
        return None


def _tagged(client: MlflowClient, experiment: str, plan: RunPlan, storage: str) -> Run | None:
    found = client.search_runs(
        [experiment],
        f"tags.`{plan.identified_by}` = '{plan.tags[plan.identified_by]}' "
        f"and tags.`{tags.STORAGE}` = '{storage}'",
        run_view_type=ViewType.ALL,
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return client.get_run(found[0].info.run_id) if found else None


def _hash_of(store: Store) -> str:
    """Of a storage: its URI, or its path on this machine."""
    here = f"{machine()}:" if isinstance(store.root, Path) else ""
    return hashlib.sha256(f"{here}{store.root}".encode()).hexdigest()[:12]


def _say_new(plan: RunPlan, link: MlflowLink | None) -> None:
    if link is not None:
        _log.warning(
            "%s: its MLflow run %s at %s is not here; it is shown again, whole, in a new run",
            plan.name,
            link.run_id,
            link.tracking_uri,
        )
