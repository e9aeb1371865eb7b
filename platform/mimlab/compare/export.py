"""The files that `mimlab compare` writes besides its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimlab.compare.cells import cells_of
from mimlab.compare.csv_table import csv_of
from mimlab.compare.latex import latex_of
from mimlab.compare.output import check_writable, write_text
from mimlab.compare.rows import compare_trials
from mimlab.compare.trials import TrialResult
from mimlab.errors import UserError
from mimlab.storage.folders import SubmissionFolder


@dataclass(frozen=True)
class Files:
    """Where a comparison is written to; None: not asked for."""

    html: Path | None = None
    csv: Path | None = None
    latex: Path | None = None

    def check(self) -> None:
        """Raises UserError if one of them cannot be written, or two are the same."""
        asked = [file for file in (self.html, self.csv, self.latex) if file is not None]
        for file in asked:
            check_writable(file)
        if len({file.absolute() for file in asked}) < len(asked):
            raise UserError(f"{asked[0]}: named for two formats; give each its own file")


def write_files(
    submission: SubmissionFolder, trials: Sequence[TrialResult], files: Files
) -> list[Path]:
    """Write what was asked for of its trials; the files that were written. Raises UserError."""
    files.check()
    forms: list[tuple[Path | None, Callable[[], str]]] = [
        (files.html, lambda: _html(submission, trials)),
        (files.csv, lambda: csv_of(trials)),
        (files.latex, lambda: latex_of(compare_trials(submission, trials), cells_of(trials))),
    ]
    written: list[Path] = []
    for file, make in forms:
        if file is not None:
            write_text(file, make())
            written.append(file)
    return written


def _html(submission: SubmissionFolder, trials: Sequence[TrialResult]) -> str:
    from mimlab.compare.report import report_of  # plotly takes a second to import

    return report_of(submission, trials)
