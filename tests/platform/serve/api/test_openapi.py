"""The OpenAPI document says what the API does: schemathesis tries it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

MAX_EXAMPLES = 12
HOST = {"Host": "127.0.0.1:8080"}
"""schemathesis calls a name that is none of the dashboard's."""
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""A 500 is in no document."""


@pytest.fixture
def app(site: Callable, create_study: Callable, tmp_path: Path, study: str):
    file = tmp_path / "study.yaml"
    file.write_text(study)
    create_study(file, f"storage={tmp_path / 'results'}")
    return site().app


@pytest.mark.slow
# A thread that uses `random` beside them, as those of other tests' servers do, is not a strategy.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_what_is_answered_is_what_is_documented(app: FastAPI) -> None:
    """Requests that the document allows, and such that it does not; no answer surprises."""
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=HOST)
    tried: set[str] = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        tried.add(operation.label)

        @settings(
            max_examples=MAX_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(case=operation.as_strategy())
        def try_one(case: schemathesis.Case) -> None:
            answer = case.call(headers=HOST)
            case.validate_response(answer, checks=CHECKS)

        try_one()
    assert len(tried) > 25


def test_every_route_is_described_with_its_refusals(site: Callable) -> None:
    document = site().app.openapi()
    for path, methods in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method, route in methods.items():
            said = (method, path)
            assert route["summary"], said
            assert route["security"] == [{"HTTPBearer": []}, {"APIKeyCookie": []}], said
            for status in ("401", "403", "422"):
                shape = route["responses"][status]["content"]["application/json"]["schema"]
                assert shape["$ref"].endswith("/ErrorBody"), said
    assert "Authorization" in document["info"]["description"]
