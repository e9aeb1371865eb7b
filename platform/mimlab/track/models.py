"""Exported encoders as LoggedModels: searchable by what the probes say about them."""

from __future__ import annotations

from functools import cached_property
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models.utils import get_external_mlflow_model_spec

from mimlab.storage.records import TrialRecord
from mimlab.track.labels import params

_EXTERNAL = {"mlflow.model.isExternal": "true"}


class ExportedModels:
    """The models of one child run; each is made once, whatever was interrupted."""

    def __init__(self, client: MlflowClient, run: Run, trial: TrialRecord) -> None:
        self._client = client
        self._run_id = run.info.run_id
        self._experiment_id = run.info.experiment_id
        outputs = run.outputs.model_outputs if run.outputs else []
        self._linked = {output.model_id for output in outputs}
        self._trial_id = trial.id
        # On every model, so that a search can combine them with the probes' metrics.
        self._params = params(trial.identity)

    def at(self, step: int, export: str) -> str:
        """Id of the model of the export folder `export`, made at `step`."""
        name = f"{self._trial_id}-step{step}"
        model = self._by_name.get(name) or self._create(name, step, export)
        if model.status != LoggedModelStatus.READY:
            model = self._finish(model)
        if model.model_id not in self._linked:
            output = LoggedModelOutput(model.model_id, step=step)
            self._client.log_outputs(self._run_id, [output])
            self._linked.add(model.model_id)
        self._by_name[name] = model
        return model.model_id

    @cached_property
    def _by_name(self) -> dict[str, LoggedModel]:
        query = f"source_run_id = '{self._run_id}'"
        found: dict[str, LoggedModel] = {}
        page = self._client.search_logged_models([self._experiment_id], query)
        found |= {model.name: model for model in page}
        while page.token:
            page = self._client.search_logged_models(
                [self._experiment_id], query, page_token=page.token
            )
            found |= {model.name: model for model in page}
        return found

    def _create(self, name: str, step: int, export: str) -> LoggedModel:
        return self._client.create_logged_model(
            self._experiment_id,
            name=name,
            source_run_id=self._run_id,
            tags={**_EXTERNAL, "ckpt_uri": export, "step": str(step)},
            params=self._params,
            model_type="encoder",
        )

    def _finish(self, model: LoggedModel) -> LoggedModel:
        """As mlflow.create_external_model does, but without MLflow's process-wide address.

        The MLmodel file lets the model be registered; the weights stay in the storage.
        """
        with TemporaryDirectory() as folder:
            get_external_mlflow_model_spec(model).save(f"{folder}/MLmodel")
            self._client.log_model_artifacts(model.model_id, folder)
        return self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
