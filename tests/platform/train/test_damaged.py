"""Training on a data set that was damaged after its import."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimlab.data.builtin import built_in
from mimlab.data.manifest import MANIFEST, DataSet
from mimlab.errors import TrialError
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.train.session import Session

Build = Callable[..., Session]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A data set of one's own: 1,438 images to train on, of which 24 steps read 2,400 views."""
    return built_in("digits", tmp_path / "data")


def spoil(root: Path, ids: set[int]) -> None:
    """Cut the images of these ids off, as a shard of a mimlab without checksums may hold them."""
    for shard in DataSet.open(root).split("train").shards:
        path = Path(str(shard.path))
        table, schema = pq.read_table(path), pq.read_schema(path)
        sizes = pq.read_metadata(path)
        rows = table.to_pylist()
        for row in rows:
            if row["id"] in ids:
                row["image"] = row["image"][:40]
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
            start = 0
            for group in range(sizes.num_row_groups):
                count = sizes.row_group(group).num_rows
                part = pa.Table.from_pylist(rows[start : start + count], schema)
                writer.write_table(part, row_group_size=count)
                start += count
        _tell_size(root, path)


def _tell_size(root: Path, path: Path) -> None:
    manifest = json.loads((root / MANIFEST).read_text())
    for split in manifest["splits"]:
        for shard in split["shards"]:
            if shard["file"] == path.name:
                shard["bytes"] = path.stat().st_size
    (root / MANIFEST).write_text(json.dumps(manifest))


def skipped(trial: TrialFolder) -> list[dict[str, Any]]:
    lines = map(json.loads, trial.store.read(trial.file("log.jsonl")).splitlines())
    return [line for line in lines if line["event"] == "image skipped"]


def test_unreadable_images_are_counted_and_named_and_training_goes_on(
    session_of: Build, digits: Path
) -> None:
    bad = {3, 700, 1200}
    spoil(digits, bad)
    session = session_of(f"data.images={digits}")
    assert session.run().state == "finished"
    told = skipped(session.trial)
    assert {line["id"] for line in told} == bad
    assert all(line["reason"] for line in told)
    points = read_points(session.trial.store, session.trial.file("journal"))
    assert points[-1].metrics["data/skipped"] == len(told)
    counts = [point.metrics["data/skipped"] for point in points]
    assert counts == sorted(counts)


def test_too_many_of_them_end_the_trial(session_of: Build, digits: Path) -> None:
    spoil(digits, set(range(0, 1400, 20)))
    session = session_of(f"data.images={digits}", "data.max_skipped=0.02")
    with pytest.raises(TrialError, match=r"\d+ of the \d+ images read could not be decoded: more "):
        session.run()
    allowed = session_of(f"data.images={digits}", "data.max_skipped=0.1")
    assert allowed.trial.id == session.trial.id
    assert allowed.run().state == "finished"


def test_a_flipped_bit_in_a_shard_is_one_line_that_names_it(
    session_of: Build, digits: Path
) -> None:
    (shard, *_) = DataSet.open(digits).split("train").shards
    path = Path(str(shard.path))
    image = pq.read_table(path, columns=["image"])["image"][2].as_py()
    content = bytearray(path.read_bytes())
    content[content.index(image) + len(image) // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(TrialError) as caught:
        session_of(f"data.images={digits}").run()
    assert caught.value.state == "failed"
    said = str(caught.value)
    assert said.startswith(f"{path}: row group 0 is damaged (") and "\n" not in said
    assert f"mimlab data inspect {digits} --verify" in said
