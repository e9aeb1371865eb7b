"""`data.sidecars` of a study: found, held against the images, part of what a trial is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimlab.data.builtin import built_in
from mimlab.data.importing_maps import import_maps
from mimlab.data.manifest import DataSet
from mimlab.data.sidecar import MapKind, open_sidecars
from mimlab.errors import UserError
from mimlab.search.submission import plan_study, reopen
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return DataSet.open(built_in("digits", tmp_path_factory.mktemp("digits")))


@pytest.fixture
def maps(digits: DataSet, tmp_path: Path) -> Callable[..., Path]:
    """Writes a sidecar of the digits, every value of every map the same; returns its folder."""

    def write(name: str, value: int, kind: MapKind = "map") -> Path:
        files = tmp_path / f"{name}-files"
        files.mkdir()
        for number in range(digits.manifest.images):
            Image.fromarray(np.full((2, 2), value, np.uint8)).save(files / f"{number:04d}.png")
        import_maps(files, digits.root, tmp_path / name, kind=kind)
        return tmp_path / name

    return write


def planned_ids(folder: Path, tiny_study: str, *changes: str) -> list[str]:
    (folder / "tiny.yaml").write_text(tiny_study)
    planned = plan_study(load_study(folder / "tiny.yaml", None, list(changes)))
    return [trial.id for trial in planned.trials]


def test_what_a_map_holds_is_part_of_a_trial_and_where_it_lies_is_not(
    tmp_path: Path, tiny_study: str, maps: Callable[..., Path]
) -> None:
    one, other, labels = maps("one", 1), maps("other", 2), maps("labels", 3, "labels_map")
    moved = one.rename(tmp_path / "moved")
    plain = planned_ids(tmp_path, tiny_study)
    assert planned_ids(tmp_path, tiny_study, "data.sidecars={}") == plain
    with_one = planned_ids(tmp_path, tiny_study, f"data.sidecars={{prior: {moved}}}")
    assert (
        planned_ids(tmp_path, tiny_study, "data.sidecars={prior: " + str(other) + "}") != with_one
    )
    again = planned_ids(tmp_path, tiny_study, f"data.sidecars.prior={moved}")
    assert again == with_one != plain
    # Labels of pixels serve probes, which are not in a trial's identity.
    both = f"data.sidecars={{prior: {moved}, segmentation: {labels}}}"
    assert planned_ids(tmp_path, tiny_study, both) == with_one


def test_an_axis_over_sidecars_compares_them(
    tmp_path: Path, tiny_study: str, maps: Callable[..., Path]
) -> None:
    axis = f"sweep.axes={{data.sidecars.prior: [{maps('one', 1)}, {maps('other', 2)}]}}"
    assert len(set(planned_ids(tmp_path, tiny_study, axis))) == 2


def test_a_path_in_the_file_is_taken_from_its_folder_and_a_submission_keeps_it(
    tmp_path: Path, create_study: Callable, tiny_study: str, maps: Callable[..., Path]
) -> None:
    one = maps("one", 1)
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_study.replace("  images:", "  sidecars: {prior: ./one}\n  images:"))
    created = create_study(file)
    spec = trial_spec(created.spec)
    assert spec.data.sidecars == {"prior": str(one)}
    found = open_sidecars(spec.data.sidecars, created.data)
    record = created.submission.trial_records()[0]
    assert record.identity["data.sidecars.prior"] == found["prior"].fingerprint
    assert [trial.id for trial in reopen(created.submission).trials] == [record.id]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "no sidecar.json, so this is not a sidecar; make one with `mimlab data maps"),
        ("other-images", "made for the images with fingerprint"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused_where_it_is_named(
    tmp_path: Path, create_tiny: Callable, maps: Callable[..., Path], name: str, reason: str
) -> None:
    path = tmp_path / name
    if name == "other-images":
        path = maps(name, 1)
        text = (path / "sidecar.json").read_text()
        made_for = text.split('"images": "')[1][:64]
        (path / "sidecar.json").write_text(text.replace(made_for, "0" * 64))
    with pytest.raises(UserError) as caught:
        create_tiny(tmp_path, f"data.sidecars.prior={path}")
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"--set data.sidecars.prior={path}: data.sidecars.prior: {path}: ")
    assert reason in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("data.sidecars={Prior Map: x}", "such as prior; found 'Prior Map'"),
        ("data.sidecars={prior: ''}", "data.sidecars.prior"),
        ("data.sidecars={prior: ftp://x/y}", "no file system is called ftp://"),
        ("data.sidecars=[x]", "data.sidecars: should be a mapping"),
    ],
)
def test_a_name_or_an_address_that_is_none_is_refused(
    tmp_path: Path, create_tiny: Callable, change: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        create_tiny(tmp_path, change)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"--set {change}: ") and reason in line


def test_labels_in_the_place_of_a_map_to_follow_are_refused(
    tmp_path: Path, tiny_study: str, maps: Callable[..., Path]
) -> None:
    labels = maps("labels", 3, "labels_map")
    with pytest.raises(UserError, match="holds labels, not values; import it with `--kind map`"):
        planned_ids(tmp_path, tiny_study, f"data.sidecars={{prior: {labels}}}")
