"""Taking a submission out of MLflow again."""

from __future__ import annotations

from mlflow import MlflowClient

from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import MlflowLink
from mimlab.track.client import connect


def remove_runs(submission: SubmissionFolder, uri: str) -> None:
    """Delete the runs of a submission and its trials, their models, and an experiment left empty.

    They go to MLflow's trash, which `mlflow gc` empties. Raises what MLflow raises.
    """
    links = [link for folder in (submission, *submission.trials()) if (link := folder.mlflow())]
    if not links:
        return
    client = connect(uri)
    for link in links:
        _remove_run(client, link)
    for experiment in {link.experiment_id for link in links}:
        if not client.search_runs([experiment], max_results=1):
            client.delete_experiment(experiment)


def _remove_run(client: MlflowClient, link: MlflowLink) -> None:
    query = f"source_run_id = '{link.run_id}'"
    for model in client.search_logged_models([link.experiment_id], query):
        client.delete_logged_model(model.model_id)
    client.delete_run(link.run_id)
