"""With `--strict`, the sidecar refuses the requests that IMDS refuses, with IMDS' messages."""

import json
from typing import Any

import pytest

from tests.imds.conftest import Sidecar


@pytest.fixture
def options() -> dict[str, Any]:
    return {"strict": True}


@pytest.mark.parametrize(
    "headers", [{}, {"Metadata": "false"}, {"Metadata": "true", "X-Forwarded-For": "10.0.0.1"}]
)
async def test_request_without_the_header_or_with_forwarded_for_is_refused(
    sidecar: Sidecar, headers: dict[str, str]
) -> None:
    status, text, _ = await sidecar.token(headers=headers)
    assert (status, json.loads(text)["error"]) == (400, "invalid_request")


async def test_request_with_the_header_gets_a_token(sidecar: Sidecar) -> None:
    assert (await sidecar.token(headers={"Metadata": "True"}))[0] == 200
