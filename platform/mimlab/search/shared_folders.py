"""Whether the other machines of a cluster see the folders that a study names by a local path."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mimlab.errors import UserError

NODE_S = 60.0
"""For a node to start a process and look."""


def other_machines() -> dict[str, str]:
    """Node id → host name of the living nodes that are not on this machine."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    here = ray.get_runtime_context().get_node_id()
    own = {node["NodeManagerAddress"] for node in nodes if node["NodeID"] == here}
    return {
        node["NodeID"]: node["NodeManagerHostname"]
        for node in nodes
        if node["NodeManagerAddress"] not in own
    }


def refuse_unshared(nodes: Mapping[str, str], *, results: object, images: object) -> None:
    """Raises UserError if one of these nodes (id → name) does not see a local folder.

    A URI is for the file system behind it to answer for. `results` is told from another folder of
    the same path by a file that is written for the purpose; `images` must exist.
    """
    needed = {"data.images": images} if isinstance(images, Path) else {}
    if not isinstance(results, Path):
        _refuse(nodes, needed)
        return
    marker = results / f".seen-{uuid.uuid4().hex}"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        _refuse(nodes, {**needed, "storage": marker})
    finally:
        marker.unlink()


def _refuse(nodes: Mapping[str, str], needed: Mapping[str, Path]) -> None:
    paths = [str(path.absolute()) for path in needed.values()]
    task = ray.remote(num_cpus=0)(_seen)
    seen = {node: task.options(scheduling_strategy=_on(node)).remote(paths) for node in nodes}
    for node, answer in seen.items():
        for (key, path), found in zip(needed.items(), ray.get(answer, timeout=NODE_S), strict=True):
            if not found:
                folder = path.parent if key == "storage" else path
                raise UserError(
                    f"{key}: node {nodes[node]} of the cluster does not see {folder}, a folder of "
                    "this machine; name one that all nodes share, or a URI such as s3://bucket/path"
                )


def _seen(paths: Iterable[str]) -> list[bool]:
    return [Path(path).exists() for path in paths]


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)
