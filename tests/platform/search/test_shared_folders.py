"""Results and images on a local path need nodes that see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimlab.errors import UserError


@pytest.fixture
def node(ray_local: None) -> dict[str, str]:
    """The only node of the local Ray, taken for another machine."""
    import ray

    return {ray.get_runtime_context().get_node_id(): "node-7"}


def test_this_machine_is_not_another_one(ray_local: None) -> None:
    from mimlab.search.shared_folders import other_machines

    assert other_machines() == {}


def test_folders_that_a_node_sees_are_taken_and_left_as_they_were(
    node: dict[str, str], tmp_path: Path
) -> None:
    from mimlab.search.shared_folders import refuse_unshared

    results = tmp_path / "runs"
    refuse_unshared(node, results=results, images=tmp_path)
    assert list(results.iterdir()) == []


def test_images_that_a_node_does_not_see_are_refused(node: dict[str, str], tmp_path: Path) -> None:
    from mimlab.search.shared_folders import refuse_unshared

    gone = tmp_path / "cifar10"
    with pytest.raises(UserError, match=r"data\.images: node node-7 .* does not see .*cifar10"):
        refuse_unshared(node, results=tmp_path, images=gone)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_path_that_is_another_one_is_refused(
    node: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that tells them apart is not there for the node."""
    from mimlab.search.shared_folders import refuse_unshared

    monkeypatch.setattr(Path, "touch", lambda _: None)
    monkeypatch.setattr(Path, "unlink", lambda _: None)
    with pytest.raises(UserError, match=r"storage: node node-7 .* does not see"):
        refuse_unshared(node, results=tmp_path, images="s3://bucket/images")


def test_addresses_are_no_folders(node: dict[str, str]) -> None:
    from mimlab.search.shared_folders import refuse_unshared

    refuse_unshared(node, results="s3://bucket/runs", images="s3://bucket/images")
