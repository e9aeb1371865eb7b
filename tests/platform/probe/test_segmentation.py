"""The segmentation probe from a study to its record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.map_views import map_views
from mimlab.data.sidecar import Sidecar
from mimlab.errors import UserError
from mimlab.probe.base import Probe
from mimlab.probe.due import reads_of, unanswered
from mimlab.probe.segmented import SegmentedImages
from mimlab.probe.task import probe_baselines, probe_export
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec
from mimlab.storage.records import ProbeRecord
from mimlab.track.metric_keys import is_known
from mimlab.train.build import build_objective
from mimlab.train.export import write_export
from mimlab.train.pixels import normalise

SIZE, PATCH = 16, 4
PROBES = "probes=[{name: segmentation, epochs: 60, at: end}]"


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of two regions along its patches, of two noisy colours, and its label map."""
    rng = np.random.default_rng(index)
    inside = np.kron(rng.random((SIZE // PATCH, SIZE // PATCH)) < 0.4, np.ones((PATCH, PATCH)))
    colours = np.array([[40, 60, 200], [210, 150, 30]])
    pixels = colours[inside.astype(int)] + rng.integers(-30, 31, (SIZE, SIZE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), _labels(inside.astype(np.uint8))


def _labels(inside: np.ndarray) -> np.ndarray:
    """The borders of patches are left out: logits of patches, upsampled, blur them."""
    edge = np.arange(SIZE) % PATCH
    border = (edge == 0) | (edge == PATCH - 1)
    return np.where(border[:, None] | border[None], 255, inside).astype(np.uint8)


class Scenes(NamedTuple):
    data: DataSet
    labels: Sidecar


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, named_data: Callable[..., DataSet]) -> Scenes:
    """Two-region images with their label maps; no image has a label of its own."""
    folder = tmp_path_factory.mktemp("scenes")
    numbers = {"train": range(150), "test": range(1000, 1030)}
    splits = {
        split: {f"{split}/{i:04d}.png": scene(i)[0] for i in them}
        for split, them in numbers.items()
    }
    data = named_data(folder / "data", splits)
    for split, them in numbers.items():
        (folder / "maps" / split).mkdir(parents=True)
        for i in them:
            Image.fromarray(scene(i)[1]).save(folder / "maps" / split / f"{i:04d}.png")
    labels = import_maps(folder / "maps", data.root, folder / "labels", kind="labels_map").sidecar
    return Scenes(data, labels)


@pytest.fixture
def written(tmp_path: Path, create_tiny: Callable, scenes: Scenes) -> Callable:
    """A trial on the scenes with an export of its untrained encoder."""

    def write(*changes: str):
        made = create_tiny(
            tmp_path,
            f"data.images={scenes.data.root}",
            f"data.sidecars={{segmentation: {scenes.labels.root}}}",
            *changes,
        )
        spec = trial_spec(made.spec)
        write_export(
            made.trial,
            build_objective(spec).backbone.vit.state_dict(),
            step=24,
            epoch=2.4,
            backbone=spec.backbone,
            image_size=SIZE,
        )
        return made

    return write


def test_two_regions_are_found_in_the_patches_of_an_encoder(
    written: Callable, scenes: Scenes
) -> None:
    made = written(PROBES)
    probe_export(made.order().model_dump(mode="json"), made.trial.id, 24, ["segmentation"])
    (record,) = made.trial.probes()
    assert record.protocol == "segmentation/1" and record.error == "" and record.collapse == ""
    assert (record.num_fit, record.num_test) == (150, 30)
    assert set(record.metrics) == {"probe/segmentation/miou"}
    assert record.metrics["probe/segmentation/miou"] > 0.95
    assert all(is_known(key) for key in record.metrics)
    assert record.settings["label_maps"] == scenes.labels.fingerprint


def test_a_result_on_other_label_maps_is_no_answer(
    written: Callable, scenes: Scenes, tmp_path: Path
) -> None:
    made = written("probes=[{name: segmentation, epochs: 1, max_fit: 20, at: end}]")
    probe_export(made.order().model_dump(mode="json"), made.trial.id, 24, ["segmentation"])
    spec = trial_spec(made.spec)
    due: dict[int, list[Probe]] = {24: list(spec.probes)}
    assert unanswered(due, made.trial.probes(), reads_of(spec)) == {}
    swapped = Path(str(scenes.labels.root)).parent / "maps"
    for file in swapped.rglob("*.png"):
        labels = np.asarray(Image.open(file))
        target = tmp_path / "swapped" / file.relative_to(swapped)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(labels == 255, 255, 1 - labels).astype(np.uint8)).save(target)
    other = import_maps(
        tmp_path / "swapped", scenes.data.root, tmp_path / "other", kind="labels_map"
    ).sidecar
    data = spec.data.model_copy(update={"sidecars": {"segmentation": str(other.root)}})
    changed = spec.model_copy(update={"data": data})
    assert unanswered(due, made.trial.probes(), reads_of(changed)) == due


def test_the_baseline_is_the_untrained_encoder(written: Callable) -> None:
    made = written("probes=[{name: segmentation, epochs: 3, max_fit: 40, at: end}]")
    probe_baselines(made.order().model_dump(mode="json"), made.submission.id)
    store = made.trial.store
    (file,) = store.list(made.submission.file("baselines"))
    assert file == "random-init-segmentation.json"
    record = store.read_record(made.submission.file(f"baselines/{file}"), ProbeRecord)
    assert record is not None and record.num_fit == 40
    assert set(record.metrics) == {"baseline/random-init/segmentation/miou"}


def test_it_reads_centre_views_with_the_labels_of_their_pixels(scenes: Scenes) -> None:
    (labels,) = map_views({"segmentation": scenes.labels}, patch_size=SIZE)
    device = torch.device("cpu")
    images = SegmentedImages(scenes.data.split("test"), labels, SIZE, device, threads=2)
    pixels, found = (torch.cat(parts) for parts in zip(*images.in_order(), strict=True))
    expected = [scene(i) for i in range(1000, 1030)]
    assert torch.equal(found, torch.from_numpy(np.stack([labels for _, labels in expected])))
    views = torch.from_numpy(np.stack([image for image, _ in expected]))
    assert torch.equal(pixels, normalise(views))


def test_images_without_any_class_are_left_out(
    scenes: Scenes, tmp_path: Path, named_data: Callable[..., DataSet]
) -> None:
    data = named_data(tmp_path / "data", {"train": {f"{i}.png": scene(i)[0] for i in range(4)}})
    (tmp_path / "maps").mkdir()
    for i in range(3):
        labels = np.full((SIZE, SIZE), 255, np.uint8) if i == 1 else scene(i)[1]
        Image.fromarray(labels).save(tmp_path / "maps" / f"{i}.png")
    sidecar = import_maps(
        tmp_path / "maps", data.root, tmp_path / "labels", kind="labels_map", allow_missing=True
    ).sidecar
    (view,) = map_views({"segmentation": sidecar}, patch_size=SIZE)
    images = SegmentedImages(data.split("train"), view, SIZE, torch.device("cpu"), threads=1)
    ((pixels, labels),) = images.in_order()
    assert len(pixels) == len(labels) == 2


def test_a_study_without_label_maps_is_refused_before_it_looks_for_data(
    tmp_path: Path, tiny_study: str
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_study.replace("knn, every_epochs", "segmentation, every_epochs"))
    line = 1 + file.read_text().splitlines().index("  - {name: segmentation, every_epochs: 0.6}")
    with pytest.raises(UserError) as caught:
        legal_trials(load_study(file))
    [message] = str(caught.value).splitlines()
    assert message.startswith(f"{file}:{line}: probes.0.name: segmentation reads label maps")
    assert "mimlab data maps" in message and "{sidecars: {segmentation: FOLDER}}" in message


def test_maps_that_are_no_labels_are_refused(
    scenes: Scenes, tmp_path: Path, create_tiny: Callable
) -> None:
    folder = Path(str(scenes.labels.root)).parent / "maps"
    import_maps(folder, scenes.data.root, tmp_path / "values", kind="map")
    with pytest.raises(UserError, match="holds values, not labels; import it with `--kind labels`"):
        create_tiny(
            tmp_path,
            f"data.images={scenes.data.root}",
            f"data.sidecars.segmentation={tmp_path / 'values'}",
            PROBES,
        )
