"""The LaTeX table: escaped, best values bold, deviations over seeds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.compare.cells import cells_of
from mimlab.compare.latex import escaped, latex_of
from mimlab.compare.rows import compare
from mimlab.compare.trials import read_trials

KNN, LINEAR = "probe/knn/top1", "probe/linear/top1"
COMMANDS = ("textbackslash", "textasciitilde", "textasciicircum")


def table(study, question: str = "Which ratio?") -> list[str]:
    submission = study.submission(question)
    return latex_of(compare(submission), cells_of(read_trials(submission))).splitlines()


def line_with(lines: list[str], text: str) -> str:
    (line,) = (line for line in lines if line.startswith(text))
    return line


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of A&B", r"50 \% of A\&B"),
        ("min_area=2", r"min\_area=2"),
        ("a\\b", r"a\textbackslash{}b"),
        ("{x}^2 ~ #1 $", r"\{x\}\textasciicircum{}2 \textasciitilde{} \#1 \$"),
        ("two\nlines", "two lines"),
    ],
)
def test_special_characters_are_printed_as_they_are(text: str, latex: str) -> None:
    assert escaped(text) == latex


@given(st.text(alphabet="ab\\&%$#_{}~^ ", max_size=20))
def test_no_special_character_is_left_alone(text: str) -> None:
    found = escaped(text)
    for command in COMMANDS:
        found = found.replace(rf"\{command}{{}}", "")
    assert not re.search(r"[&%$#_{}~^\\]", re.sub(r"\\[&%$#_{}]", "", found))


def test_the_best_mean_of_each_probe_is_bold_with_its_deviation(study) -> None:
    for name, shift in (("random", 0.0), ("block", 0.1)):
        for seed in (0, 1):
            trial = study.trial(name, 0.5, seed)
            study.probe(trial, 10, KNN, 0.5 + shift + 0.02 * seed)
            study.probe(trial, 10, LINEAR, 0.75 - shift)
    study.baseline("raw-pixels", KNN, 0.99)
    lines = table(study)
    # The sample deviation of 0 and 2 is √2.
    assert line_with(lines, "block") == (
        r"block & 0.5 & 2 & \(\mathbf{61.00} \pm 1.41\) & \(65.00 \pm 0.00\) \\"
    )
    assert r"\(\mathbf{75.00} \pm 0.00\)" in line_with(lines, "random")
    # A baseline is a reference, not a candidate.
    assert "mathbf" not in line_with(lines, "raw pixels") and "99.00" in line_with(lines, "raw")


def test_every_line_has_as_many_cells_as_the_table_has_columns(study) -> None:
    for lr in (0.1, 0.2):
        study.probe(study.trial("random", 0.5, axes={"train.base_lr": lr}), 10, KNN, 0.5)
    study.baseline("random-init", KNN, 0.4)
    lines = table(study, "Is 50 % of A & B_1 enough?")
    columns = re.search(r"tabular\}\{([lr]+)\}", "\n".join(lines))
    assert columns is not None
    rows = [line for line in lines if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns.group(1))}
    assert any(r"\caption{Is 50 \% of A \& B\_1 enough?" in line for line in lines)
    assert r"base\_lr=0.1" in "\n".join(lines)


def test_the_caption_says_at_which_budget(study) -> None:
    for ratio in (0.5, 0.75):
        study.journal(study.trial(ratio=ratio), [1.0] * 10)
    (caption,) = (line for line in table(study) if line.startswith(r"\caption"))
    assert "Finished trials are compared at equal images (6,400 each)" in caption


def test_fewer_scores_than_seeds_are_said(study) -> None:
    study.probe(study.trial(seed=0), 10, KNN, 0.5)
    study.trial(seed=1, state="failed")
    line = line_with(table(study), "random (failed)")
    assert r"\(\mathbf{50.00}\) (n = 1)" in line


def test_a_study_without_scores_is_a_table_without_probes(study) -> None:
    study.trial(state="pending")
    assert line_with(table(study), "random (pending)") == r"random (pending) & 0.5 & 1 \\"
