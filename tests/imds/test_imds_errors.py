"""With `--imds-errors`, errors have IMDS' format, and clients retry only temporary ones."""

import json
from typing import Any

import pytest

from tests.imds.conftest import Sidecar


@pytest.fixture
def options() -> dict[str, Any]:
    return {"imds_errors": True}


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("resource=", 400, "invalid_request"),
        ("resource=https://nothing.example", 400, "invalid_resource"),
        ("resource=https://a%20https://b", 400, "invalid_resource"),
        ("client_id=11111111-1111-4111-8111-000000000000", 400, "invalid_request"),
    ],
)
async def test_error_is_json_with_an_imds_code(
    sidecar: Sidecar, query: str, status: int, error: str
) -> None:
    found, text, _ = await sidecar.token(query)
    assert (found, json.loads(text)["error"]) == (status, error)


async def test_temporary_failure_is_a_503(sidecar: Sidecar) -> None:
    sidecar.token_file.unlink()
    assert (await sidecar.token())[0] == 503
