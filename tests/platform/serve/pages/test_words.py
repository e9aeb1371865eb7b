"""What pages say of a submission, in words."""

from __future__ import annotations

import pytest

from mimlab.search.hours_text import hours_text
from mimlab.serve.pages.parts import words
from mimlab.serve.reading import Reading


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0, "0"), (1 / 60, "0.0167"), (10, "10"), (12.54, "12.5"), (99.96, "100"), (234.5, "234")],
)
def test_hours_have_three_digits(hours: float, said: str) -> None:
    assert hours_text(hours) == said


def test_a_thousand_hours_and_more_are_counted_out(storage) -> None:
    """10 steps a second, by 4 workers with a core each, for 2,890 hours."""
    trial = storage.trial()
    resources = {"workers": 4, "cpus_per_worker": 1, "max_cpu_hours": 12_500}
    submission = storage.submission(trials=[trial], resources=resources)
    storage.owner(trial, submission)
    storage.points(trial, [1.0], first_step=10 * 3600 * 2_890)
    storage.status(trial, "stopped", 10 * 3600 * 2_890, 10**9)
    (summary,) = Reading(storage.store).submissions()
    assert words.hours(summary) == "11,560 of 12,500"
    assert words.hours_left(summary) == "940"
    assert words.spending(summary) == "11,560 CPU h, 940 left"
    assert "11,560 of 12,500 CPU-hours are spent" in summary.health
