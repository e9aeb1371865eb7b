"""Objectives that learn from labels, held against what a data set has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimlab.data.builtin import built_in
from mimlab.data.manifest import MANIFEST, DataSet, Manifest
from mimlab.data.shards import write_shard
from mimlab.errors import UserError

SUPERVISED = (
    "objective={name: supervised_mim, num_classes: %d, decoder_depth: 1, decoder_width: 16, "
    "decoder_heads: 2}"
)


@pytest.fixture
def relabelled(tmp_path: Path) -> Callable[[list[str], int], Path]:
    """Digits with other class names, and with some labels of the first shard taken away."""

    def make(classes: list[str], unlabelled: int) -> Path:
        folder = shutil.copytree(built_in("digits", tmp_path / "cache"), tmp_path / "mine")
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text())
        entry = manifest.splits[0]
        file = folder / entry.shards[0].file
        rows = pq.read_table(file)
        labels = rows["label"].to_pylist()
        labels = [None] * unlabelled + labels[unlabelled:]
        rows = rows.set_column(2, rows.schema.field("label"), pa.array(labels, pa.int32()))
        shard, _ = write_shard(file, rows, first_id=0)
        splits = [entry.model_copy(update={"shards": [shard]}), *manifest.splits[1:]]
        changed = manifest.model_copy(update={"classes": classes, "splits": splits})
        content = json.dumps(changed.model_dump(mode="json"))
        (folder / MANIFEST).write_text(content)
        DataSet.open(folder)
        return folder

    return make


def refusal(create_tiny: Callable, folder: Path, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        create_tiny(folder, *overrides)
    return str(caught.value).splitlines()


def test_as_many_classes_as_the_data_has_are_taken(tmp_path: Path, create_tiny: Callable) -> None:
    (record,) = create_tiny(tmp_path, SUPERVISED % 10).submission.trial_records()
    assert record.resolved["objective"]["num_classes"] == 10


def test_another_number_of_classes_is_refused(tmp_path: Path, create_tiny: Callable) -> None:
    (line,) = refusal(create_tiny, tmp_path, SUPERVISED % 12)
    assert "objective.num_classes: is 12, but" in line
    assert line.endswith("has 10 classes; give 10")
    assert not (tmp_path / "results" / "submissions").exists()


def test_images_without_labels_are_refused(
    tmp_path: Path, create_tiny: Callable, relabelled: Callable
) -> None:
    folder = relabelled([str(digit) for digit in range(10)], 30)
    (line,) = refusal(create_tiny, tmp_path, SUPERVISED % 10, f"data.images={folder}")
    assert "objective.name: supervised_mim needs the label of every image; 30 of split" in line


def test_a_data_set_without_classes_is_refused(
    tmp_path: Path, create_tiny: Callable, relabelled: Callable
) -> None:
    folder = relabelled([], 0)
    lines = refusal(create_tiny, tmp_path, SUPERVISED % 10, f"data.images={folder}", "probes=[]")
    assert lines == [
        f"--set {SUPERVISED % 10}: objective.name: supervised_mim learns from labels, and no image "
        f"of {folder} has one"
    ]


def test_others_do_not_look(tmp_path: Path, create_tiny: Callable, relabelled: Callable) -> None:
    create_tiny(tmp_path, f"data.images={relabelled([], 40)}", "probes=[]")
