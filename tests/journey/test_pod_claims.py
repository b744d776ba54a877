"""An instance that refuses tokens without a pod: pods work, and a controller with TokenRequest does not."""

import uuid
from collections.abc import Iterator

import pytest

from tests.journey.instance import Instance, started

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("strict"), "--require-pod-claims") as running:
        yield running


async def test_token_of_a_pod_is_accepted_and_one_of_a_token_request_is_not(
    strict: Instance,
) -> None:
    assert strict.run_pod("bound", "web") == ("Succeeded", "hello\n")
    status, answer = await strict.exchange(strict.token("web"), correlation_id=str(uuid.uuid4()))
    assert status == 400
    text = answer["error_description"]
    assert text.startswith("AADSTS90014:")
    assert "TokenRequest" in strict.podpass("explain", text).stdout
