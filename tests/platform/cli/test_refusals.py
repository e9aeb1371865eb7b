"""Bad input as its user reads it: one message, where and what would be right, exit code 2."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.exits import UNAVAILABLE


@pytest.fixture
def refusal(call, folder: Path) -> Callable[..., str]:
    """Runs what must be refused before anything is written, and gives what stderr says."""

    def refused(*arguments: str | Path) -> str:
        said = call(*arguments)
        assert said.code == 2, said
        assert said.out == ""
        assert said.err.startswith("error: ") and "Traceback" not in said.err
        results = folder / "runs"
        assert not results.exists() or [path.name for path in results.iterdir()] == ["data"]
        return said.err

    return refused


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_wrong_key_has_its_line_and_the_nearest_name(refusal, folder, tiny, command) -> None:
    (folder / "tiny.yaml").write_text(tiny.replace("log_every", "log_evry"))
    err = refusal(command, "tiny.yaml")
    line = tiny[: tiny.index("log_every")].count("\n") + 1
    assert f"tiny.yaml:{line}: train.log_evry: unknown key; did you mean `log_every`?" in err


def test_every_mistake_is_told_at_once(refusal, folder, tiny) -> None:
    wrong = tiny.replace("batch_size: 64", "batch_size: many").replace("digits", "[]")
    (folder / "tiny.yaml").write_text(wrong)
    err = refusal("run", "tiny.yaml")
    assert 'train.batch_size: should be a whole number; found "many"' in err
    assert "data.images: " in err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.batch_size=many", 'should be a whole number; found "many"'),
        ("sweep.axes={masking.ratio: [1.0]}", "should be less than 1; found 1.0"),
        ("data.image_size=18", "18 px is no multiple of the 4 px patch; 16 or 20 is"),
        ("masking={name: block, min_area: 13}", "lower min_area or raise ratio"),
        ("train.budget={epochs: 0}", "train.budget.epochs: should be greater than 0; found 0"),
        ("train.budget={visible_tokens: -1}", "should be greater than 0; found -1"),
        ("train.budget={gpu_hours: 1}", "gpus_per_worker is 0, so no GPU time is spent; give cpu"),
        ("masking.name=rundom", "did you mean `random`?"),
        ("backbone.name=vit_huge", "vit_huge"),
        ("probes=[{name: knn}]", "never runs"),
        ("resources.max_cpu_hours=0", "should be greater than 0; found 0"),
        ("resources.max_gpu_hours=-1", "should be greater than 0; found -1"),
        ("resources.max_gpu_hours=5", "counts nothing where gpus_per_worker is 0; set max_cpu_h"),
        ("resources={gpus_per_worker: 0.5, max_cpu_hours: 5}", "set max_gpu_hours in its place"),
        ("masking.ratio", "an override is `path=value`"),
        ("train.log_every.x=1", "nothing lies below it"),
    ],
)
def test_a_value_that_cannot_be_is_explained(refusal, change: str, told: str) -> None:
    for command in ("validate", "run"):
        err = refusal(command, "tiny.yaml", "--set", change)
        assert "--set " in err and told in err


def test_an_unknown_preset_is_refused(refusal) -> None:
    assert "no preset is called 'laptop'; it has none" in refusal(
        "run", "tiny.yaml", "--preset", "laptop"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"study: [a\n b: }", "bad.yaml:2: is not YAML"),
        (b"\xff\xfe\x00\x01", "is not UTF-8 text"),
        (b"", "the file holds nothing"),
        (b"- a\n", "the file holds a list"),
        (b"a: 1\na: 2\n", "bad.yaml:2"),
    ],
)
def test_a_file_that_is_no_study_is_refused(refusal, folder, content: bytes, told: str) -> None:
    (folder / "bad.yaml").write_bytes(content)
    assert told in refusal("run", "bad.yaml")


def test_a_file_that_is_not_there_or_a_folder_is_refused(refusal, folder) -> None:
    assert "nothing.yaml: cannot be read: No such file" in refusal("run", "nothing.yaml")
    assert "cannot be read: Is a directory" in refusal("run", folder)


def test_images_that_were_not_imported_are_refused(refusal, folder) -> None:
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("no image")
    for images, told in (
        ("nowhere", "nowhere: no such folder"),
        ("empty", "empty: no manifest.json, so this is not a data set"),
        ("texts", "texts: no manifest.json, so this is not a data set"),
        ("tiny.yaml", "tiny.yaml: no manifest.json, so this is not a data set"),
    ):
        err = refusal("run", "tiny.yaml", "--set", f"data.images={images}")
        assert told in err and "mimlab data import" in err


@pytest.mark.parametrize("source", ["nowhere", "empty", "texts"])
def test_an_import_of_nothing_makes_nothing(call, folder, source: str) -> None:
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("no image")
    said = call("data", "import", source, "--to", "imported")
    assert said.code == 2 and "Traceback" not in said.err
    told = {"nowhere": "no such file or folder", "empty": "no files", "texts": "such as a.txt"}
    assert told[source] in said.err
    assert not (folder / "imported").exists()


Damage = Callable[[Path], None]


def cut(root: Path) -> None:
    shard = next(root.glob("train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])


def remove(root: Path) -> None:
    next(root.glob("test-*.parquet")).unlink()


def scribble(root: Path) -> None:
    shard = next(root.glob("train-*.parquet"))
    shard.write_bytes(b"x" * shard.stat().st_size)


def lie_about_rows(root: Path) -> None:
    """A manifest that agrees with itself, not with the shards."""
    content = json.loads((root / "manifest.json").read_text())
    split = content["splits"][0]
    split["rows"] += 1
    split["shards"][0]["rows"] += 1
    split["shards"][0]["row_groups"][-1] += 1
    content["images"] += 1
    (root / "manifest.json").write_text(json.dumps(content))


def contradict_itself(root: Path) -> None:
    content = json.loads((root / "manifest.json").read_text())
    content["splits"][0]["rows"] += 1
    (root / "manifest.json").write_text(json.dumps(content))


def cut_manifest(root: Path) -> None:
    text = (root / "manifest.json").read_text()
    (root / "manifest.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "cut short or changed; import it again"),
        (remove, "missing, although manifest.json lists it"),
        (scribble, "not a Parquet file"),
        (lie_about_rows, "row groups where manifest.json says"),
        (contradict_itself, "its shards do not add up to its rows"),
        (cut_manifest, "cannot be read as JSON"),
    ],
)
def test_a_damaged_data_set_is_refused(refusal, digits: Path, damage: Damage, told: str) -> None:
    damage(digits)
    assert told in refusal("run", "tiny.yaml", "--set", f"data.images={digits}")
    assert told in refusal("data", "inspect", digits)


def test_an_unknown_split_is_refused(refusal) -> None:
    for split in ("train", "probe_fit", "probe_test"):
        err = refusal("run", "tiny.yaml", "--set", f"data.splits.{split}=val")
        assert "no split named 'val'; it has train, test" in err


def test_probes_of_images_without_labels_are_refused(refusal, digits: Path) -> None:
    content = json.loads((digits / "manifest.json").read_text())
    content["classes"] = []
    (digits / "manifest.json").write_text(json.dumps(content))
    err = refusal("run", "tiny.yaml", "--set", f"data.images={digits}")
    assert "no image has a label, so there is nothing to probe" in err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("resources.cpus_per_worker=4096", "set resources.cpus_per_worker to at most"),
        ("resources.gpus_per_worker=4096", "(0 trains on the CPU)"),
        ("tracking.uri=file:mlruns", "MLflow's file store"),
        ("tracking.uri=http://ada:secret@lab", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(refusal, change: str, told: str) -> None:
    for command in ("plan", "run"):
        err = refusal(command, "tiny.yaml", "--set", change)
        assert told in err and "secret" not in err


def test_results_cannot_go_into_a_file(refusal, digits: Path) -> None:
    for storage in ("tiny.yaml", "tiny.yaml/below"):
        sets = ("--set", f"storage={storage}", "--set", f"data.images={digits}")
        assert "tiny.yaml is a file; results need a folder" in refusal("run", "tiny.yaml", *sets)


@pytest.mark.parametrize("command", ["resume", "compare"])
@pytest.mark.parametrize("storage", ["runs", "tiny.yaml", "."])
@pytest.mark.parametrize("name", ["nothing", "", "..", "../x", "/"])
def test_an_unknown_submission_is_refused(refusal, command: str, storage: str, name: str) -> None:
    err = refusal(command, name, "--storage", storage)
    if command == "resume" and name != "nothing":
        assert f"{name!r} is no id of a submission or a trial" in err
    else:
        assert f"there is no submission {name!r}; the latest are: none yet" in err


@pytest.mark.parametrize("command", ["resume", "compare"])
def test_a_damaged_record_is_named(call, folder: Path, command: str) -> None:
    record = folder / "runs" / "submissions" / "half" / "submission.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"id": "ha')
    said = call(command, "half")
    assert said.code == 2
    assert f"{record}: not a SubmissionRecord" in said.err and "Traceback" not in said.err


def test_a_disk_that_is_full_is_said_in_a_line(call, small_disk, folder: Path) -> None:
    disk = small_disk(1 << 20)
    (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    said = call("run", "tiny.yaml", "--set", f"storage={disk}/runs")
    assert said.code == UNAVAILABLE, said
    assert "the disk is full; make room" in said.err and "Traceback" not in said.err
