"""The manifests: what they must say for the API server, for KubeRay and for a careful cluster.

KubeRay's fields are those of `ray.io/v1` (ray-operator/apis/ray/v1/*_types.go, and the reference of
KubeRay 1.6 in Ray's documentation for `authOptions`). Kubernetes' own kinds are checked against the
fields that these manifests may use; the API server's schemas are not at hand offline.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kubernetes"
FILES = sorted(FOLDER.rglob("*.yaml"))
OBJECTS = [file for file in FILES if file.name not in ("kustomization.yaml", "study.yaml")]

CLUSTER = {
    "headGroupSpec",
    "workerGroupSpecs",
    "rayVersion",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "authOptions",
}
HEAD = {"serviceType", "rayStartParams", "template"}
WORKER = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
AUTOSCALER = {"idleTimeoutSeconds", "upscalingMode", "resources", "securityContext"}
JOB = {
    "entrypoint",
    "backoffLimit",
    "submissionMode",
    "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "runtimeEnvYAML",
    "rayClusterSpec",
}
POD = {
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "nodeSelector",
    "securityContext",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
}
CONTAINER = {
    "args",
    "env",
    "envFrom",
    "image",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "startupProbe",
    "volumeMounts",
}
KINDS = {
    "Deployment": "apps/v1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "RayCluster": "ray.io/v1",
    "RayJob": "ray.io/v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
}


def loaded(text: str) -> list[dict[str, Any]]:
    return [found for found in YAML(typ="safe").load_all(text) if found]


def objects() -> list[dict[str, Any]]:
    return [found for file in OBJECTS for found in loaded(file.read_text())]


def one(kind: str, name: str) -> dict[str, Any]:
    [found] = [o for o in objects() if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def pods(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The specifications of the pods that an object asks for."""
    if found["kind"] in ("Deployment", "StatefulSet"):
        yield found["spec"]["template"]["spec"]
    if found["kind"] == "RayCluster":
        groups = [found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]]
        yield from (group["template"]["spec"] for group in groups)


ALL_PODS = [
    pytest.param(pod, id=f"{found['kind']}-{found['metadata']['name']}-{number}")
    for found in objects()
    for number, pod in enumerate(pods(found))
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_it_is_yaml_without_a_key_twice(file: Path) -> None:
    assert loaded(file.read_text())


def test_objects_are_of_known_kinds() -> None:
    assert {found["kind"]: found["apiVersion"] for found in objects()} == KINDS


def test_kuberay_knows_every_field() -> None:
    spec = one("RayCluster", "mimlab")["spec"]
    assert spec.keys() <= CLUSTER
    assert spec["headGroupSpec"].keys() <= HEAD
    assert spec["autoscalerOptions"].keys() <= AUTOSCALER
    assert spec["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    for group in spec["workerGroupSpecs"]:
        assert group.keys() <= WORKER
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    job = one("RayJob", "study")["spec"]
    assert job.keys() <= JOB
    assert job["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode")


def test_rays_version_is_the_one_that_is_installed() -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    version = next(line.partition("==")[2] for line in pinned if line.startswith("ray=="))
    assert one("RayCluster", "mimlab")["spec"]["rayVersion"] == version


@pytest.mark.parametrize("pod", ALL_PODS)
def test_no_pod_has_rights_that_it_does_not_need(pod: dict[str, Any]) -> None:
    assert pod.keys() <= POD
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container.keys() <= CONTAINER
        context = container["securityContext"]
        assert not context["allowPrivilegeEscalation"]
        assert not context.get("privileged", False)
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("pod", ALL_PODS)
def test_every_container_says_what_it_takes(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        asked, most = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= asked.keys()
        assert "memory" in most
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {"data"} if container["name"] == "postgres" else set()
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_every_service_is_probed(kind: str) -> None:
    for found in objects():
        if found["kind"] == kind:
            for container in found["spec"]["template"]["spec"]["containers"]:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_secrets_are_named_and_never_written() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    assert "kind: Secret" not in text
    for found in objects():
        for pod in pods(found):
            for container in pod["containers"]:
                for variable in container.get("env", []):
                    if any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "SECRET")):
                        assert "secretKeyRef" in variable["valueFrom"]


def test_the_head_stays_off_spot_nodes_and_workers_may_go_there() -> None:
    spec = one("RayCluster", "mimlab")["spec"]
    terms = spec["headGroupSpec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    [term] = terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    [rule] = term["matchExpressions"]
    assert rule["operator"] == "NotIn"
    spot = spec["workerGroupSpecs"][1]["template"]["spec"]
    assert spot["nodeSelector"] == {rule["key"]: rule["values"][0]}
    assert rule["key"] in [toleration["key"] for toleration in spot["tolerations"]]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == 0
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits["nvidia.com/gpu"] == "1"


def test_what_no_rule_names_is_reached_by_nobody() -> None:
    policies = [found for found in objects() if found["kind"] == "NetworkPolicy"]
    [deny] = [p for p in policies if p["spec"]["podSelector"] == {}]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    components = {
        found["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for found in objects()
        if found["kind"] in ("Deployment", "StatefulSet")
    } | {"ray"}
    named = {
        p["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for p in policies
        if p is not deny
    }
    assert named == components - {"dashboard"}, "the dashboard's door is the ingress controller's"


def test_the_job_supervises_a_study_that_the_schema_takes(tmp_path: Path) -> None:
    from mimlab.spec.schema import study_schema

    job = one("RayJob", "study")["spec"]
    assert job["entrypoint"].startswith("mimlab supervise /etc/mimlab/study.yaml")
    import jsonschema

    [study] = loaded((FOLDER / "study" / "study.yaml").read_text())
    jsonschema.validate(study, study_schema())
    assert study["storage"].startswith("s3://")
    assert study["tracking"]["uri"] == "http://mlflow:5000"


@pytest.fixture(scope="module")
def built() -> Callable[[str], list[dict[str, Any]]]:
    """What `kubectl apply -k` would send of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl to build with")

    def build(place: str) -> list[dict[str, Any]]:
        command = ["kubectl", "kustomize", str(FOLDER / place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return loaded(done.stdout)

    return build


class Started:
    """The only container of a deployment, with its variables put in as Kubernetes does."""

    def __init__(self, found: list[dict[str, Any]], deployment: str) -> None:
        named = {(each["kind"], each["metadata"]["name"]): each for each in found}
        [self._container] = next(pods(named["Deployment", deployment]))["containers"]
        self.env: dict[str, str] = dict(named["ConfigMap", "mimlab"]["data"])
        for variable in self._container["env"]:
            if "value" in variable:
                self.env[variable["name"]] = self._with_variables(variable["value"])

    @property
    def words(self) -> list[str]:
        return [self._with_variables(word) for word in self._container["args"]]

    def option(self, name: str) -> str:
        [value] = [word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")]
        return value

    def _with_variables(self, text: str) -> str:
        known = self.env
        return re.sub(r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), text)


def test_mlflow_answers_where_links_to_it_lead(built) -> None:
    from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

    mlflow = Started(built("overlays/example"), "mlflow")
    page = mlflow.env["MIMLAB_MLFLOW_PAGE"]
    hosts = mlflow.option("--allowed-hosts").split(",")
    assert is_allowed_host_header(hosts, urlsplit(page).netloc)
    assert is_allowed_host_header(hosts, urlsplit(mlflow.env["MLFLOW_TRACKING_URI"]).netloc)
    assert not is_allowed_host_header(hosts, "elsewhere.example")
    origins = mlflow.option("--cors-allowed-origins").split(",")
    assert not should_block_cors_request(page, "POST", origins)
    assert should_block_cors_request("https://elsewhere.example", "POST", origins)


def test_the_dashboard_takes_the_recipes_own_study(built, monkeypatch) -> None:
    from mimlab.cli.dashboard import dashboard
    from mimlab.serve.security.roots import Roots
    from mimlab.spec.load import load_study
    from mimlab.storage.remote_path import place_of

    started = Started(built("overlays/example"), "dashboard")
    for name, text in started.env.items():
        monkeypatch.setenv(name, text)
    app = typer.Typer()
    app.command()(dashboard)
    assert started.words[:2] == ["mimlab", "dashboard"]
    given = typer.main.get_command(app).make_context("dashboard", started.words[2:]).params
    roots = Roots.of(given["root"] or (), place_of(given["storage"]))
    roots.check(load_study(FOLDER / "study" / "study.yaml"))


@pytest.mark.parametrize("place", ["overlays/example", "study"])
def test_kustomize_builds_it(built, place: str) -> None:
    found = built(place)
    assert all(o["metadata"].get("namespace", "mimlab") == "mimlab" for o in found)
    if place == "study":
        [job] = [o for o in found if o["kind"] == "RayJob"]
        assert not [o for o in found if o["kind"] == "RayCluster"]
        assert job["spec"]["rayClusterSpec"].keys() <= CLUSTER
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        assert {"name": "study", "configMap": {"name": "study"}} in head["volumes"]
        assert head["containers"][0]["image"].startswith("registry.example/")
