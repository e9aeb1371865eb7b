"""What is one cell: trials that differ by their seed, and by nothing else."""

from __future__ import annotations

from typing import Any

from mimlab.compare.cells import cells_of
from mimlab.compare.curves import loss_groups
from mimlab.compare.trials import read_trials

KNN = "probe/knn/top1"


def labels(study) -> list[str]:
    return [cell.label for cell in cells_of(read_trials(study.submission()))]


def test_seeds_are_one_cell_and_nothing_else_is(study) -> None:
    for lr in (0.1, 0.2):
        for seed in (0, 1):
            study.trial("random", 0.5, seed, axes={"train.base_lr": lr})
    cells = cells_of(read_trials(study.submission()))
    assert [(cell.label, [t.seed for t in cell.trials]) for cell in cells] == [
        ("random · 0.5 · base_lr=0.1", [0, 1]),
        ("random · 0.5 · base_lr=0.2", [0, 1]),
    ]


def test_a_value_that_never_varies_is_not_in_the_name(study) -> None:
    study.trial("random", 0.5, axes={"train.base_lr": 0.1})
    study.trial("block", 0.5, axes={"train.base_lr": 0.1, "masking.min_area": 2})
    assert labels(study) == ["random · 0.5", "block · 0.5"]


def test_a_parameter_that_varies_within_a_masking_is_in_its_name(study) -> None:
    study.trial("random", 0.5)
    for aspect in (0.3, 1.0):
        study.trial("block", 0.5, axes={"masking.aspect": aspect})
    assert labels(study) == ["random · 0.5", "block aspect=0.3 · 0.5", "block aspect=1.0 · 0.5"]


def test_axes_that_end_alike_keep_their_whole_path(study) -> None:
    for depth in (1, 2):
        study.trial("random", 0.5, axes={"backbone.depth": depth, "decoder.depth": depth})
    assert labels(study) == [
        f"random · 0.5 · backbone.depth={depth}, decoder.depth={depth}" for depth in (1, 2)
    ]


def test_codes_that_are_not_a_papers_say_so_in_their_name(study) -> None:
    for name, params in (("pixels", {}), ("tokens", {"vocabulary": 512}), ("gone", {"side": 3})):
        target = {"name": name, **params}
        study.trial("random", 0.5, axes={"target.name": name}, resolved={"target": target})
    assert labels(study) == [
        f"random · 0.5 · target={name}" for name in ("pixels", "tokens(kmeans-pixels-512)", "gone")
    ]


PIXELS: dict[str, Any] = {"name": "pixels"}
TOKENS: dict[str, Any] = {"name": "tokens", "vocabulary": 512}


def test_papers_are_called_by_their_names_and_by_codes_that_are_not_theirs(study) -> None:
    for recipe, target in (("mae", PIXELS), ("pim", TOKENS), ("mapet", TOKENS)):
        resolved = {"target": target, "objective": {"name": recipe}}
        study.trial("random", 0.5, axes={"recipe": recipe}, resolved=resolved)
    shown = ["mae", "pim on tokens(kmeans-pixels-512)", "mapet on tokens(kmeans-pixels-512)"]
    assert labels(study) == [f"random · 0.5 · recipe={one}" for one in shown]
    groups = loss_groups(cells_of(read_trials(study.submission())))
    assert [name for name, _ in groups] == labels(study)


def test_codes_are_named_once(study) -> None:
    for recipe, target in (("mae", PIXELS), ("pim", TOKENS)):
        axes = {"recipe": recipe, "target.name": target["name"]}
        study.trial("random", 0.5, axes=axes, resolved={"target": target})
    assert labels(study) == [
        "random · 0.5 · recipe=mae, target=pixels",
        "random · 0.5 · recipe=pim, target=tokens(kmeans-pixels-512)",
    ]


def test_ratios_rise(study) -> None:
    for ratio in (0.75, 0.5, 0.9):
        study.trial("random", ratio)
    assert labels(study) == ["random · 0.5", "random · 0.75", "random · 0.9"]


FALLING = {"quantum": 4, "start": 0.9, "end": 0.5, "name": "linear"}


def test_a_schedule_is_a_ratio_not_another_masking(study) -> None:
    """As an axis that has both leaves it: a number's path, or those of a schedule's parameters."""
    study.trial("random", 0.5)
    for end in (0.5, 0.6):
        ratio = FALLING | {"end": end}
        point = {f"masking.ratio.{key}": value for key, value in ratio.items()}
        masking = {"name": "random", "ratio": ratio}
        study.trial("random", axes=point, resolved={"masking": masking})
    assert labels(study) == [
        "random · 0.5",
        "random · linear(start=0.9, end=0.5)",
        "random · linear(start=0.9, end=0.6)",
    ]


def test_a_masking_without_a_ratio_has_none(study) -> None:
    trial = study.trial("none", 0.5, resolved={"masking": {"name": "none"}})
    study.journal(trial, [1.0])
    (cell,) = cells_of(read_trials(study.submission()))
    assert (cell.label, cell.ratio) == ("none", "–")


def test_a_seed_that_ended_early_is_not_averaged_with_finished_ones(study) -> None:
    study.probe(study.trial(seed=0), 20, KNN, 0.8)
    study.probe(study.trial(seed=1, state="failed"), 10, KNN, 0.2)
    (cell,) = cells_of(read_trials(study.submission()))
    assert cell.scores(KNN) == {0: 0.8}
    assert (cell.complete, cell.unfinished) == (False, "failed")


def test_while_none_has_finished_there_is_what_there_is(study) -> None:
    study.probe(study.trial(seed=0, state="running"), 10, KNN, 0.3)
    (cell,) = cells_of(read_trials(study.submission()))
    assert cell.scores(KNN) == {0: 0.3}


def test_a_value_that_is_null_is_not_one_that_is_absent(study) -> None:
    study.trial("random", 0.5)
    study.trial("random", 0.5, axes={"train.clip_norm": None})
    assert labels(study) == ["random · 0.5", "random · 0.5 · clip_norm=null"]
