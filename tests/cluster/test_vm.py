"""Clusters on cloud machines, validated by Ray's own launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[2] / "cluster" / "vm"
FILES = ("aws.yaml", "gcp.yaml")


def config_of(file: str) -> dict[str, Any]:
    return YAML(typ="safe").load((FOLDER / file).read_text())


@pytest.mark.parametrize("file", FILES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rays_launcher_accepts_it(file: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config_of(file))
    validate_config(prepared)
    assert prepared["available_node_types"]["gpu-spot"]["max_workers"] == 8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rays_launcher_refuses_a_key_that_it_does_not_know() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="max_wrokers"):
        validate_config(prepare_config(config_of("aws.yaml") | {"max_wrokers": 8}))


@pytest.mark.parametrize("file", FILES)
def test_every_key_is_in_the_file_that_the_launcher_would_fill_with_a_default(file: str) -> None:
    """Its defaults install a nightly Ray and open the Jobs API to everybody."""
    config = config_of(file)
    for key in (
        "setup_commands",
        "head_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    ):
        assert key in config
    text = (FOLDER / file).read_text()
    assert "--dashboard-host=127.0.0.1" in text
    assert "0.0.0.0" not in text


@pytest.mark.parametrize("file", FILES)
def test_the_head_stays_and_only_workers_are_on_spot(file: str) -> None:
    types = config_of(file)["available_node_types"]
    spot = {
        name
        for name, kind in types.items()
        if "InstanceMarketOptions" in kind["node_config"]
        or {"preemptible": True} in kind["node_config"].get("scheduling", [])
    }
    assert spot == {"gpu-spot"}
    assert types["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("file", FILES)
def test_every_ray_that_is_started_asks_for_the_token(file: str) -> None:
    config = config_of(file)
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in commands)
    assert "~/.ray/auth_token" in config["file_mounts"]


@pytest.mark.parametrize("file", FILES)
def test_every_machine_has_an_image_of_its_own(file: str) -> None:
    """Ray's default on AWS is an Ubuntu 18.04, too old for the wheels of torch."""
    for kind in config_of(file)["available_node_types"].values():
        config = kind["node_config"]
        assert "ImageId" in config or config["disks"][0]["initializeParams"]["sourceImage"]
