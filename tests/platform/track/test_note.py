"""The experiment's note."""

import json
from urllib.parse import parse_qs, urlsplit

from mimlab.track.note import MAX_COMPARED, charts_link, compare_link, experiment_note


def query_of(link: str) -> dict[str, list[str]]:
    assert link.startswith("#/")
    return parse_qs(urlsplit(link[1:]).query)


def test_the_comparison_address_holds_json_lists() -> None:
    query = query_of(compare_link(["a1", "b2"], ["7"]))
    assert json.loads(query["runs"][0]) == ["a1", "b2"]
    assert json.loads(query["experiments"][0]) == ["7"]


def test_the_charts_address_filters_by_submission() -> None:
    query = query_of(charts_link("7", "s-1"))
    assert query == {
        "searchFilter": ["tags.`mimlab.submission` LIKE '%s-1%'"],
        "compareRunsMode": ["CHART"],
    }


def test_the_note_asks_the_question_and_leaves_out_an_address_that_is_too_long(lab) -> None:
    def note(count: int) -> str:
        ids = [f"{i:032x}" for i in range(count)]
        return experiment_note(
            lab.submission(), experiment_id="7", run_ids=ids, experiment_ids=["7"]
        )

    assert note(4).startswith("**Does block masking beat random?**")
    assert "compare-runs" in note(MAX_COMPARED)
    assert "compare-runs" not in note(MAX_COMPARED + 1)
    assert "compare-runs" not in note(1)
