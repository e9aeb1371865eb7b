"""Tokens and hours become steps: how many, whose identity, and once only."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.search.frozen import id_as_asked, with_steps
from mimlab.search.hours import with_hours_frozen
from mimlab.search.preview import Preview, preview
from mimlab.search.submission import create, plan_study, retrialled, storage_of, unfinished
from mimlab.spec.load import LoadedStudy, load_study
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.records import StatusRecord
from mimlab.train.schedule import steps_of_amount

QUICKSTART = Path(__file__).parents[3] / "sweeps" / "quickstart.yaml"
BATCH = 128


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


def study(storage: Path, *changes: str) -> LoadedStudy:
    first = [f"storage={storage}", "train.warmup_epochs=0"]
    return load_study(QUICKSTART, overrides=[*first, *changes])


def planned_preview(loaded: LoadedStudy) -> Preview:
    return preview(with_hours_frozen(loaded, plan_study(loaded)))


def steps_of(loaded: LoadedStudy) -> dict[float, int | None]:
    """Steps by ratio."""
    trials = plan_study(loaded).trials
    budgets = {t.point["masking.ratio"]: trial_spec(t.resolved).train.budget for t in trials}
    return {float(ratio or 0): budget.steps for ratio, budget in budgets.items()}


@given(amount=st.floats(1, 1e7), per_step=st.floats(0.1, 1e5))
def test_steps_spend_an_amount_and_never_a_whole_step_more(amount: float, per_step: float) -> None:
    steps = steps_of_amount(amount, per_step)
    assert steps >= 1
    assert steps * per_step >= amount * (1 - 1e-6)
    assert (steps - 1) * per_step < amount


def test_steps_are_in_the_ratio_of_the_visible_patches(storage: Path) -> None:
    # 8 and 4 of 16 patches are visible.
    tokens = 8 * BATCH * 100
    steps = steps_of(study(storage, f"train.budget={{visible_tokens: {tokens}}}"))
    assert steps == {0.5: 100, 0.75: 200}


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5, deadline=None
)
@given(tokens=st.integers(1, 10**6))
def test_tokens_are_exceeded_by_less_than_a_step(storage: Path, tokens: int) -> None:
    steps = steps_of(study(storage, f"train.budget={{visible_tokens: {tokens}}}"))
    for ratio, count in steps.items():
        per_step = BATCH * 16 * (1 - ratio)
        assert count and count * per_step >= tokens > (count - 1) * per_step


def test_a_frozen_trial_is_the_trial_of_as_many_steps(storage: Path) -> None:
    one = ["masking.ratio=0.5", "sweep={}"]
    tokens = f"train.budget={{visible_tokens: {8 * BATCH * 100}}}"
    (frozen,) = plan_study(study(storage, *one, tokens)).trials
    (counted,) = plan_study(study(storage, *one, "train.budget={steps: 100}")).trials
    assert (frozen.id, frozen.identity) == (counted.id, counted.identity)
    assert frozen.resolved == counted.resolved
    assert frozen.budget_asked == {"visible_tokens": 8 * BATCH * 100}
    assert counted.budget_asked is None


def test_a_budget_that_ends_within_its_warm_up_is_refused(storage: Path) -> None:
    tokens = f"train.budget={{visible_tokens: {8 * BATCH * 11}}}"
    with pytest.raises(UserError, match=r"train.warmup_epochs: warms up for 11 of the 11 steps"):
        plan_study(study(storage, "masking.ratio=0.5", "sweep={}", tokens, "train.warmup_epochs=1"))
    plan_study(study(storage, "masking.ratio=0.5", "sweep={}", tokens, "train.warmup_epochs=0.9"))


def test_a_budget_may_be_an_axis(storage: Path) -> None:
    axes = "sweep={axes: {train.budget.visible_tokens: [102400, 204800]}, seeds: [0]}"
    trials = plan_study(study(storage, "masking.ratio=0.5", axes)).trials
    assert [trial_spec(t.resolved).train.budget.steps for t in trials] == [100, 200]


@pytest.mark.parametrize("key", ["epochs", "visible_tokens", "cpu_hours", "gpu_hours"])
@pytest.mark.parametrize("amount", ["0", "-1"])
def test_a_budget_of_nothing_is_refused(storage: Path, key: str, amount: str) -> None:
    with pytest.raises(UserError, match=rf"train.budget.{key}: should be greater than 0; found"):
        study(storage, f"train.budget={{{key}: {amount}}}")


@pytest.mark.parametrize(
    ("asked", "gpus", "remedy"), [("gpu_hours", 0, "cpu_hours"), ("cpu_hours", 1, "gpu_hours")]
)
def test_hours_of_a_device_that_does_not_train_are_refused(
    storage: Path, asked: str, gpus: int, remedy: str
) -> None:
    changes = (f"train.budget={{{asked}: 1}}", f"resources.gpus_per_worker={gpus}")
    with pytest.raises(UserError, match=rf"train.budget.{asked}: .*give {remedy} instead"):
        plan_study(study(storage, *changes))


def test_hours_are_measured_once_and_never_for_the_same_study_again(tmp_path: Path) -> None:
    loaded = study(tmp_path, "train.budget={cpu_hours: 0.5}", "sweep={}")
    planned = plan_study(loaded)
    (asked,) = planned.trials
    # As if a step had taken long: no measurement of this machine gives so few.
    measured = retrialled(planned, [with_steps(asked, 7)])
    (frozen,) = measured.trials
    assert (id_as_asked(frozen), frozen.budget_asked) == (asked.id, {"cpu_hours": 0.5})
    assert frozen.id != asked.id
    store = storage_of(loaded.study)
    submission = create(store, measured, loaded)

    again = with_hours_frozen(loaded, plan_study(loaded))
    assert again.trials == measured.trials and again.images == measured.images
    found = unfinished(store, again)
    assert found is not None and found.id == submission.id
    TrialFolder(store, frozen.id).write_status(StatusRecord(state="finished"))
    # A finished study is not measured either: its trial would not be found again.
    assert with_hours_frozen(loaded, plan_study(loaded)).trials == measured.trials
    assert [trial.steps for trial in planned_preview(loaded).trials] == [7]


def test_a_plan_says_which_budget_is_equal(storage: Path) -> None:
    tokens = planned_preview(study(storage, f"train.budget={{visible_tokens: {8 * BATCH * 100}}}"))
    assert tokens.equal == "equal across the trials: visible tokens (about 102,400 each)"
    images = planned_preview(study(storage, "train.budget={images: 1280}"))
    assert images.equal == "equal across the trials: images (1,280 each)"
    both = planned_preview(study(storage, "train.budget={steps: 9}", "sweep={seeds: [0, 1]}"))
    assert "images (1,152 each), visible tokens" in both.equal
    axes = "sweep={axes: {train.budget.steps: [10, 20]}}"
    assert planned_preview(study(storage, axes)).equal == (
        "no budget is equal: the trials see 1,280 to 2,560 images"
    )
    assert planned_preview(study(storage, "sweep={}")).equal == ""
