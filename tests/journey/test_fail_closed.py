"""While the webhook is unavailable, no labelled pod starts."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from podpass import names
from tests.journey.instance import LABEL, Instance


@pytest.fixture
def webhook_unavailable(instance: Instance) -> Iterator[None]:
    """Point the webhook registration at a closed port, and restore it at the end."""
    api: Any = client.AdmissionregistrationV1Api(instance.kubernetes)
    found = api.read_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION)
    address = found.webhooks[0].client_config.url
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        _point(api, f"https://127.0.0.1:{unused.getsockname()[1]}{names.WEBHOOK_PATH}")
        yield
    _point(api, address)


def _point(api: Any, url: str) -> None:
    hook = {"name": names.WEBHOOK_NAME, "clientConfig": {"url": url}}
    api.patch_mutating_webhook_configuration(names.WEBHOOK_CONFIGURATION, {"webhooks": [hook]})


@pytest.mark.usefixtures("webhook_unavailable")
def test_labelled_pods_are_refused_and_others_start_while_the_webhook_is_unavailable(
    instance: Instance,
) -> None:
    with pytest.raises(client.ApiException) as refused:
        instance.run_command("hook-down", "web", ["true"], labels=LABEL)
    assert refused.value.status == 500
    assert names.WEBHOOK_NAME in str(refused.value.body)
    assert instance.run_command("unlabelled", "web", ["true"], labels={}) == ("Succeeded", "")


def test_labelled_pods_start_after_the_webhook_has_recovered(instance: Instance) -> None:
    assert instance.run_command("hook-up", "web", ["true"]) == ("Succeeded", "")
