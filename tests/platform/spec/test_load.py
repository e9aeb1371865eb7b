"""What a study may say, and what a user reads who says something else."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.spec.load import load_study

FULL: dict[str, Any] = {
    "data": {
        "images": "digits",
        "image_size": 16,
        "augment": {"crop_scale": [0.6, 1.0], "crop_ratio": [0.75, 1.25], "flip": 0.0},
        "subset": ["0", "1"],
        "splits": {"train": "train", "probe_fit": "train", "probe_test": "test"},
    },
    "train": {
        "budget": {"epochs": 10},
        "batch_size": 64,
        "accumulate": 1,
        "optimizer": {"name": "adamw", "base_lr": 1e-3, "weight_decay": 0.05, "betas": [0.9, 0.95]},
        "warmup_epochs": 1,
        "min_lr": 0.0,
        "clip_norm": 1.0,
        "precision": "fp32",
        "log_every": 5,
        "checkpoint": {"every_epochs": 5, "keep_last": 2, "keep_best": 1},
    },
    "probes": [
        {"name": "knn", "k": 5, "temperature": 0.1, "every_epochs": 5, "at": "end", "pool": "cls"},
        {"name": "linear", "epochs": 10, "at": "end", "max_fit": 100},
    ],
    "sweep": {
        "axes": {
            "masking.name": ["random", "block"],
            "masking.ratio": [0.5, 0.75],
            "train.batch_size": [32, 64],
            "train.optimizer.base_lr": [1e-3, 2e-3],
            "target": [{"name": "pixels", "norm": "none"}, {"name": "pixels"}],
        },
        "zip": [["train.batch_size", "train.optimizer.base_lr"]],
        "when": [{"if": {"masking.name": "block"}, "axes": {"masking.min_area": [1, 2]}}],
        "exclude": [{"masking.name": "block", "masking.ratio": 0.5}],
        "seeds": [0, 1],
        "search": {"name": "grid"},
        "stopping": {
            "name": "asha",
            "metric": "probe/knn/top1",
            "mode": "max",
            "grace_epochs": 2,
            "reduction_factor": 3,
        },
    },
    "resources": {
        "workers": 1,
        "gpus_per_worker": 0,
        "cpus_per_worker": 1,
        "concurrent_trials": 2,
    },
    "tracking": {"uri": None},
    "storage": "runs",
    "presets": {"laptop": {"train": {"budget": {"steps": 5}}, "resources": {"workers": 2}}},
}


def test_the_full_study_is_legal(studies) -> None:
    assert len(studies.trials(studies.text(**FULL))) == (4 + 4) * 2 * 2


def key_paths(value: Any, at: tuple = ()) -> list[tuple]:
    """Every mapping key, by its path."""
    if isinstance(value, dict):
        below = [path for key, one in value.items() for path in key_paths(one, (*at, key))]
        return [*((*at, key) for key in value), *below]
    if isinstance(value, list):
        return [path for i, one in enumerate(value) for path in key_paths(one, (*at, i))]
    return []


WHOLE = {
    "study": "small",
    "backbone": {"name": "vit_tiny_patch16_224", "patch_size": 4, "embed_dim": 32, "num_heads": 2},
    "objective": {"name": "mae", "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
    "target": {"name": "pixels", "norm": "patch"},
    "masking": {"name": "random", "ratio": 0.75},
    **FULL,
}
RENAMED = [path for path in key_paths(WHOLE) if path[:-1] != ("presets",)]
"""A preset may have any name; nothing else may be renamed."""


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(RENAMED), st.from_regex(r"zq[a-z_]{0,8}", fullmatch=True))
def test_any_renamed_key_is_refused_with_its_line(studies, path: tuple, name: str) -> None:
    content = copy.deepcopy(WHOLE)
    section: Any = content
    for key in path[:-1]:
        section = section[key]
    renamed = {name if key == path[-1] else key: value for key, value in section.items()}
    section.clear()
    section.update(renamed)
    text = studies.text(**content)
    message = studies.refusal(text)
    lines = [line for line in message.splitlines() if name in line.partition(": ")[2]]
    assert lines, message
    assert lines[0].startswith(f"{studies.line(text, f'{name}:')}: ")


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("train", "batch_size"), "64", 'train.batch_size: should be a whole number; found "64"'),
        (("train", "batch_size"), True, "train.batch_size: should be a whole number; found true"),
        (("train", "batch_size"), 0, "should be greater than or equal to 1; found 0"),
        (("train", "budget"), {"epochs": 1.5, "steps": 3}, "found epochs and steps"),
        (
            ("train", "budget"),
            {},
            "images, steps, visible_tokens, gpu_hours, cpu_hours; found none of them",
        ),
        (("train", "budget"), 10, "train.budget: should be a mapping; found 10"),
        (("train", "precision"), "bf61", 'found "bf61"'),
        (("train", "optimizer"), {"betas": [0.9]}, "train.optimizer.betas.1: is missing"),
        (("train", "optimizer"), {"betas": 0.9}, "train.optimizer.betas: should be a list"),
        (("train", "warmup_epochs"), 10, "warms up for 10 of 10 epochs; it must be shorter"),
        (("masking", "ratio"), 1.0, "masking.ratio: should be less than 1; found 1.0"),
        (("masking", "ratio"), [0.5], "masking.ratio: should be a number; found [0.5]"),
        (("data", "images"), "ftp://team/x", "no file system is called ftp://; there are paths"),
        (("data", "images"), "s3:/team/x", "s3:/team/x: malformed; expected s3://BUCKET/FOLDER"),
        (("data", "images"), "s3://k:secret@team/x", "give credentials by the environment"),
        (("data", "images"), "s3://team/x?regio=a", "unknown option 'regio'; there are region"),
        (("data", "images"), "s3://team/../x", "a URI holds no `.` or `..`"),
        (("data", "images"), "file://team/x", "a folder of this machine is file:///FOLDER"),
        (("storage",), "gs://team/x", "only paths and s3:// can hold results"),
        (("study",), "", "study: string should match pattern"),
        (("masking",), None, "masking: should be a mapping"),
        (("sweep",), {"seeds": [1, 1]}, "sweep.seeds: seed 1 is listed twice"),
        (("sweep",), {"seeds": []}, "sweep.seeds: should list at least 1; found none"),
        (("sweep",), {"axes": {"masking.ratio": 0.5}}, "should be a list; found 0.5"),
        (
            ("sweep",),
            {"axes": {"masking.ratio": []}},
            "sweep.axes.masking.ratio: should list at least 1; found none",
        ),
        (
            ("sweep",),
            {"axes": {"masking.ratio": {"low": 0.5, "high": 0.4}}},
            "sweep.axes.masking.ratio.high: 0.4 must be above low, which is 0.5",
        ),
        (
            ("sweep",),
            {"axes": {"train.min_lr": {"low": 0, "high": 1, "log": True}}},
            "sweep.axes.train.min_lr.low: 0 has no logarithm; it must be above 0",
        ),
        (("probes",), [{"name": "knn"}], "probes.0: never runs; give `every_epochs: <number>`"),
        (
            ("probes",),
            [{"name": "knn", "at": "end", "k": 20, "max_fit": 10}],
            "probes.0.k: asks for 20 neighbours among max_fit 10 images",
        ),
        (
            ("probes",),
            [{"name": "knn", "at": "end"}, {"name": "knn", "at": "end", "k": 5}],
            "probes: knn is listed twice; both would write probe/knn/top1",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_words(studies, path: tuple, value: Any, sentence: str) -> None:
    content = copy.deepcopy(WHOLE)
    del content["sweep"]
    section: Any = content
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    text = studies.text(**content)
    message = studies.refusal(text)
    assert sentence in message
    assert message.startswith("study.yaml:")


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"masking": {"name": "randm", "ratio": 0.5}},
            "masking.name: no masking is called 'randm'; did you mean `random`? There are ",
        ),
        (
            {"target": {"name": "pixel"}},
            "target.name: no target is called 'pixel'; did you mean `pixels`? There are ",
        ),
        (
            {"objective": {"name": "zzz"}},
            "objective.name: no objective is called 'zzz'; There are ",
        ),
        (
            {"probes": [{"name": "kn", "at": "end"}]},
            "probes.0.name: no probe is called 'kn'; did you mean `knn`? There are attentive, ",
        ),
        ({"masking": {"ratio": 0.5}}, "masking: `name` is missing; there are "),
        (
            {"masking": {"nmae": "random", "ratio": 0.5}},
            "masking.nmae: unknown key, and `name` is missing; there are ",
        ),
        (
            {"masking": {"name": "random", "ratoi": 0.5}},
            "masking.ratoi: unknown key; did you mean `ratio`? The keys here are name, ratio",
        ),
        (
            {"masking": {"name": "random", "aspect": 0.5}},
            "masking.aspect: belongs to block, block_unrepaired, ",
        ),
        ({"trian": {}}, "trian: unknown key; did you mean `train`? The keys here are study, "),
        (
            {"data": {"images": "digits"}},
            "data.image_size: is missing and has no default: Height and width of a view",
        ),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(studies, sections: dict, sentence: str) -> None:
    assert sentence in studies.refusal(studies.text(**sections))


def test_every_problem_is_listed_at_once(studies) -> None:
    text = studies.text(
        masking={"name": "random", "ratio": 2.0},
        train={"budget": {"epochs": 0}, "batch_size": 8, "acumulate": 2},
    )
    where = studies.line
    assert studies.refusal(text).splitlines() == [
        f"{where(text, 'ratio:')}: masking.ratio: should be less than 1; found 2.0",
        f"{where(text, 'epochs: 0')}: train.budget.epochs: should be greater than 0; found 0",
        f"{where(text, 'acumulate')}: train.acumulate: unknown key; did you mean `accumulate`? "
        "The keys here are budget, batch_size, accumulate, optimizer, warmup_epochs, min_lr, "
        "clip_norm, precision, deterministic, log_every, checkpoint",
    ]


PRESETS = {
    "laptop": {"train": {"budget": {"steps": 7}, "batch_size": 16}, "masking": {"name": "block"}},
    "half": {"masking": {"ratio": 0.5}},
}


def test_a_preset_is_laid_over_the_study(studies) -> None:
    text = studies.text(presets=PRESETS)
    plain, laptop = studies.load(text).study, studies.load(text, "laptop").study
    assert plain.train.budget.epochs == 10
    assert (laptop.train.budget.epochs, laptop.train.budget.steps) == (None, 7)
    assert laptop.train.batch_size == 16
    assert laptop.masking.name == "block"
    assert laptop.masking.ratio == 0.75
    assert studies.load(text, "half").study.masking.ratio == 0.5


def test_an_unknown_preset_gets_the_nearest_right_one(studies) -> None:
    text = studies.text(presets=PRESETS)
    assert studies.refusal(text, "lapotp") == (
        f"{studies.line(text, 'presets:')}: no preset is called 'lapotp'; did you mean `laptop`? "
        "it has laptop, half"
    )


@pytest.mark.parametrize("used", [None, "laptop"])
def test_a_preset_is_checked_whether_used_or_not(studies, used: str | None) -> None:
    text = studies.text(presets={"laptop": {"train": {"batch_size": -16}}})
    assert studies.refusal(text, used) == (
        f"{studies.line(text, '-16')}: train.batch_size: should be greater than or equal to 1; "
        "found -16"
    )


def test_a_preset_cannot_hide_two_budgets(studies) -> None:
    text = studies.text(presets={"both": {"train": {"budget": {"steps": 1, "images": 2}}}})
    assert "give exactly one of epochs, images, steps" in studies.refusal(text)


def test_a_preset_cannot_rename_the_study(studies) -> None:
    text = studies.text(presets={"other": {"study": "another"}})
    assert studies.refusal(text, "other") == (
        f"{studies.line(text, 'another')}: presets.other.study: may not be changed by a preset"
    )


def test_overrides_come_last(studies) -> None:
    text = studies.text(presets=PRESETS)
    study = studies.load(text, "laptop", ["train.batch_size=48", "probes.0.k=3"]).study
    assert study.train.batch_size == 48
    assert study.train.budget.steps == 7
    assert study.probes[0].k == 3


def test_the_options_of_a_study_mean_it_again(studies) -> None:
    loaded = studies.load(
        studies.text(presets=PRESETS), "laptop", ["probes.0.k=3", "question=Why?"]
    )
    assert loaded.options == [
        "--preset",
        "laptop",
        "--set",
        "probes.0.k=3",
        "--set",
        "question=Why?",
    ]
    assert studies.load(studies.text()).options == []


def test_an_override_replaces_the_values_of_an_axis(studies) -> None:
    text = studies.text(sweep={"axes": {"masking.ratio": [0.5, 0.75]}})
    trials = studies.trials(text, None, ["sweep.axes.masking.ratio=[0.25]"])
    assert [trial.point for trial in trials] == [{"masking.ratio": 0.25}]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=3", "train.batchsize: unknown key; did you mean `batch_size`?"),
        ("train.batch_size=x", 'train.batch_size: should be a whole number; found "x"'),
        ("train.batch_size", "an override is `path=value`, e.g. train.budget.epochs=1"),
        ("study.x.y=3", "`study` is a value, so nothing lies below it"),
        ("probes.4.k=3", "`probes` is a value, so nothing lies below it"),
        ("train.batch_size=[3", "is not YAML: "),
    ],
)
def test_a_wrong_override_is_named(studies, override: str, message: str) -> None:
    refusal = studies.refusal(studies.text(), None, [override])
    assert refusal.startswith(f"--set {override}:")
    assert message in refusal


def test_paths_are_those_of_the_file_and_overrides_those_of_the_shell(
    studies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = studies.text(data={"images": "../x", "image_size": 16}, storage="results")
    study = studies.load(text).study
    assert study.data.images == str(studies.folder.parent / "x")
    assert study.storage == str(studies.folder / "results")
    assert study.tracking.uri == f"sqlite:///{studies.folder}/results/mlflow.db"
    typed = studies.load(text, None, ["data.images=x", "storage=file:///y"]).study
    assert typed.data.images == str(tmp_path / "x")
    assert typed.storage == "/y"
    assert studies.load(studies.text()).study.data.images == "digits"
    assert studies.load(studies.text()).study.storage == str(tmp_path / "runs")


def test_a_study_that_names_no_mlflow_takes_the_one_that_the_machine_names(
    studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    own = {"uri": "http://other:5000"}
    assert studies.load(studies.text()).study.tracking.uri == "http://mlflow:5000"
    assert studies.load(studies.text(tracking=own)).study.tracking.uri == "http://other:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert studies.load(studies.text()).study.tracking.uri.startswith("sqlite:///")


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_study(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("gpus", "cpus", "decode"),
    [(0, 1, "worker"), (1, 8, "worker"), (1, 3, "tasks"), (2, 7, "tasks")],
)
def test_where_images_are_decoded_is_decided_once(
    studies, gpus: int, cpus: int, decode: str
) -> None:
    text = studies.text(resources={"gpus_per_worker": gpus, "cpus_per_worker": cpus})
    assert studies.load(text).study.data.decode == decode
    assert studies.load(text, None, ["data.decode=worker"]).study.data.decode == "worker"
