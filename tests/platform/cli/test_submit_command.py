"""`mimlab submit`: what is refused, and that nothing is sent or written then."""

from __future__ import annotations

import pytest

from mimlab.exits import INTERRUPTED
from one_machine.ports import free_port

FAR = "http://head.example.org:8265"
LIST = ("status", "--storage", "results")


@pytest.fixture
def nobody() -> str:
    """An address of this machine at which no cluster is."""
    return f"http://127.0.0.1:{free_port()}"


def refused(call, *words: str) -> str:
    said = call("submit", *words)
    assert (said.code, said.out, said.noise) == (2, "", [])
    assert said.err.startswith("error: ")
    assert "no submission yet" in call(*LIST).out
    return said.words


def test_a_study_is_sent_to_a_cluster_that_is_named(call, folder, monkeypatch) -> None:
    monkeypatch.delenv("MIMLAB_ADDRESS", raising=False)
    told = refused(call, "tiny.yaml")
    assert "--address: name the dashboard of a Ray head, http://HOST:8265" in told
    assert "`mimlab run` runs a study on this machine" in told


def test_where_no_cluster_is_one_line_says_so(call, folder, nobody: str) -> None:
    said = call("submit", "tiny.yaml", "--address", nobody, "--storage", "results")
    assert (said.code, said.out) == (INTERRUPTED, "")  # it may be there a little later
    assert said.err == (
        f"error: {nobody}: no Ray dashboard answers there; start the cluster, or name another "
        "address\n"
    )
    assert "no submission yet" in call(*LIST).out


def test_the_address_may_be_a_variable(call, folder, nobody: str, monkeypatch) -> None:
    monkeypatch.setenv("MIMLAB_ADDRESS", nobody)
    said = call("submit", "tiny.yaml")
    assert said.code == INTERRUPTED and f"{nobody}: no Ray dashboard answers there" in said.err


@pytest.mark.parametrize("address", ["ray://head:10001", "head:8265"])
def test_an_address_of_another_kind_is_refused(call, folder, address: str) -> None:
    told = refused(call, "tiny.yaml", "--address", address)
    assert f"--address {address}: a head's dashboard is http://HOST:8265" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [((), "storage: is not given"), (("--storage", "results"), "results is relative")],
)
def test_a_head_elsewhere_needs_a_storage_that_it_sees(call, folder, options, told: str) -> None:
    assert told in refused(call, "tiny.yaml", "--address", FAR, *options)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tiny.yaml", "--set", "masking.ratioo=0.5"), "did you mean `ratio`"),
        (("tiny.yaml", "--set", "data.images=no/such/folder"), "no/such/folder"),
        (("tiny.yaml", "--preset", "laptop"), "laptop"),
        (("nothing.yaml",), "nothing.yaml"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    call, folder, nobody: str, words: tuple[str, ...], told: str
) -> None:
    assert told in refused(call, *words, "--address", nobody, "--storage", "results")
