"""A schedule in the place of a ratio: loaded, varied, refused at its line, known by its values."""

from typing import Any

import pytest

from mimlab.spec.identity import identity
from mimlab.spec.schema import study_schema
from mimlab.train.visible_tokens import visible_tokens_per_image
from mimlab_objectives.masking.schedules import LinearRatio

FALLING = {"name": "linear", "start": 0.9, "end": 0.5}


def masking(ratio: Any, name: str = "random") -> dict[str, Any]:
    return {"name": name, "ratio": ratio}


def test_a_study_holds_a_schedule_where_a_number_stands(studies) -> None:
    (trial,) = studies.trials(studies.text(masking=masking(FALLING)))
    assert trial.spec.masking.ratio == LinearRatio(name="linear", start=0.9, end=0.5)
    assert trial.spec.model_dump(mode="json")["masking"]["ratio"] == FALLING | {"quantum": 4}


def test_numbers_and_schedules_are_values_of_one_axis(studies) -> None:
    rising = FALLING | {"start": 0.5, "end": 0.9}
    axes = {"masking.ratio": [0.5, FALLING, rising, {"name": "truncated_normal", "high": 0.9}]}
    trials = studies.trials(studies.text(sweep={"axes": axes}))
    assert [str(trial.spec.masking.ratio) for trial in trials] == [
        "0.5",
        "linear(start=0.9, end=0.5)",
        "linear(start=0.5, end=0.9)",
        "truncated_normal(high=0.9)",
    ]
    assert trials[1].point == {f"masking.ratio.{key}": value for key, value in FALLING.items()}


@pytest.mark.parametrize(
    ("path", "values"),
    [("end", [0.4, 0.6]), ("name", ["linear", "cosine", "step"]), ("quantum", [1, 8])],
)
def test_an_axis_varies_what_is_in_a_schedule(studies, path: str, values: list[Any]) -> None:
    sweep = {"axes": {f"masking.ratio.{path}": values}}
    trials = studies.trials(studies.text(masking=masking(FALLING), sweep=sweep))
    assert [getattr(trial.spec.masking.ratio, path) for trial in trials] == values
    assert len({identity(trial.spec, "data")[0] for trial in trials}) == len(values)


@pytest.mark.parametrize(
    ("ratio", "word", "message"),
    [
        (FALLING | {"name": "linaer"}, "linaer", "masking.ratio.name: no schedule is called "),
        (
            FALLING | {"strat": 0.9},
            "strat",
            "masking.ratio.strat: unknown key; did you mean `start`?",
        ),
        (FALLING | {"start": 1.5}, "1.5", "masking.ratio.start: should be less than 1; found 1.5"),
        (
            {"start": 0.9, "end": 0.5},
            "ratio:",
            "masking.ratio: `name` is missing; there are cosine",
        ),
        ({"name": "linear", "end": 0.51}, "ratio:", "masking.ratio.start: is missing and has no"),
        ("linear", "ratio:", 'masking.ratio: should be a number; found "linear"'),
        (
            {"name": "truncated_normal", "low": 0.95, "high": 0.9},
            "0.95",
            "masking.ratio.low: must be below high, 0.9; found 0.95",
        ),
        (
            {"name": "truncated_normal"},
            "ratio:",
            "masking.ratio: truncated_normal goes up to ratio 1.0, which hides all 16 patches: at "
            "most 0.9375 keeps one of them",
        ),
    ],
)
def test_what_is_wrong_is_refused_at_its_line(studies, ratio: Any, word: str, message: str) -> None:
    text = studies.text(masking=masking(ratio))
    assert studies.refusal(text).startswith(f"{studies.line(text, word)}: {message}")


def test_a_wrong_value_of_an_axis_is_refused_at_its_line(studies) -> None:
    text = studies.text(sweep={"axes": {"masking.ratio": [0.5, FALLING | {"end": 3}]}})
    message = studies.refusal(text)
    assert (
        message
        == f"{studies.line(text, 'end: 3')}: masking.ratio.end: should be less than 1; found 3"
    )


def test_a_masking_of_one_ratio_takes_none(studies) -> None:
    message = studies.refusal(studies.text(masking=masking(FALLING, "grid")))
    assert "masking.ratio: should be a number; found {" in message


def test_visible_tokens_are_the_mean_over_the_schedule(studies) -> None:
    """16 patches: from 1 to 8 of them visible, in a straight line."""
    fine = FALLING | {"quantum": 1}
    (trial,) = studies.trials(studies.text(masking=masking(fine)))
    assert visible_tokens_per_image(trial.spec) == pytest.approx(0.3 * 16, abs=0.55)
    (other,) = studies.trials(studies.text(masking=masking(0.7)))
    assert visible_tokens_per_image(other.spec) == 4


def test_editors_know_the_schedules() -> None:
    definitions = study_schema()["$defs"]
    assert {"LinearRatio", "CosineRatio", "StepRatio"} <= definitions.keys()
    assert {"TruncatedNormalRatio", "MaskGitRatio"} <= definitions.keys()
