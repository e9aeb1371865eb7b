"""Budgets that become steps when a study is submitted, and stay so.

A frozen trial's configuration and identity hold steps, as if the study had asked for them; what it
did ask for is kept in its record.
"""

from __future__ import annotations

from mimlab.spec.identity import identity_on
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.storage.records import TrialRecord
from mimlab.train.config import Budget
from mimlab.train.schedule import steps_of_amount
from mimlab.train.visible_tokens import visible_tokens_per_image


def respecified(record: TrialRecord, spec: TrialSpec) -> TrialRecord:
    """The record of the same point with another configuration, hence of another trial."""
    trial_id, flat = identity_on(spec, record.identity)
    update = {"id": trial_id, "resolved": spec.model_dump(mode="json"), "identity": flat}
    return record.model_copy(update=update)


def with_steps(record: TrialRecord, steps: int) -> TrialRecord:
    """The record with a budget in steps, which remembers the one that it had."""
    spec = trial_spec(record.resolved)
    frozen = respecified(record, with_budget(spec, Budget(steps=steps)))
    return frozen.model_copy(update={"budget_asked": spec.train.budget.asked})


def with_tokens_frozen(record: TrialRecord) -> TrialRecord:
    """Visible tokens as the fewest steps that spend them; any other budget as it is."""
    spec = trial_spec(record.resolved)
    tokens = spec.train.budget.visible_tokens
    if tokens is None:
        return record
    per_step = visible_tokens_per_image(spec) * spec.train.batch_size
    return with_steps(record, steps_of_amount(tokens, per_step))


def id_as_asked(record: TrialRecord) -> str:
    """What the trial's id would be if its budget had not been frozen."""
    if record.budget_asked is None:
        return record.id
    spec = trial_spec(record.resolved)
    asked = Budget.model_validate(record.budget_asked)
    return respecified(record, with_budget(spec, asked)).id


def only_warms_up(record: TrialRecord, num_images: int) -> str:
    """Why a frozen budget is too small for the trial's warm-up; empty if it is not."""
    train = trial_spec(record.resolved).train
    warmup = train.warmup_epochs * num_images / train.batch_size
    if record.budget_asked is None or train.budget.steps is None or warmup < train.budget.steps:
        return ""
    ((kind, amount),) = record.budget_asked.items()
    return (
        f"warms up for {warmup:.0f} of the {train.budget.steps:,} steps that {amount:g} {kind} "
        "buy; shorten it, or raise the budget"
    )


def with_budget(spec: TrialSpec, budget: Budget) -> TrialSpec:
    """The same trial with another budget."""
    return spec.model_copy(update={"train": spec.train.model_copy(update={"budget": budget})})
