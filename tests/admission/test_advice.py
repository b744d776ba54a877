"""The second entry: it warns about pods that lack the label, and changes and refuses nothing."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass import names
from podpass.admission.handler import create_app
from podpass.admission.service_accounts import AccountUnreadable
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint

Function = Callable[..., Any]


async def _ask(webhook: Endpoint, pod: Any, **request: Any) -> dict[str, Any]:
    response = await webhook.review(pod, path=names.ADVICE_PATH, **request)
    assert response["allowed"] is True
    assert set(response) <= {"uid", "allowed", "status", "warnings"}, "no patch, no audit"
    return response


async def test_a_pod_that_lacks_the_label_is_told_so(webhook: Endpoint, make_pod: Function) -> None:
    response = await _ask(webhook, make_pod())
    (warning,) = response["warnings"]
    assert "ServiceAccount default/default has a client id" in warning
    assert response["uid"] == "u-1"


async def test_others_are_told_nothing(webhook: Endpoint, make_pod: Function) -> None:
    labelled = make_pod()
    labelled["metadata"]["labels"] = {names.USE_LABEL: "true"}
    for pod in (labelled, make_pod(serviceAccountName="plain"), make_pod(serviceAccountName="no")):
        assert "warnings" not in await _ask(webhook, pod)
    for request in ({"operation": "UPDATE"}, {"operation": "DELETE"}, {"subResource": "binding"}):
        assert "warnings" not in await _ask(webhook, make_pod(), **request)


async def test_a_pod_the_first_entry_would_refuse_is_allowed_here(
    webhook: Endpoint, make_pod: Function
) -> None:
    await _ask(webhook, make_pod({names.TOKEN_EXPIRATION: "bad"}, containers=7))
    await _ask(webhook, make_pod(), namespace="other")
    await _ask(webhook, None)
    await _ask(webhook, make_pod(), resource={"resource": "deployments"})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b" " * 4_000_000, b'{"request":{"uid":"u","namespace":[]}}']
)
async def test_whatever_comes_is_allowed(webhook: Endpoint, body: bytes) -> None:
    response = await webhook.answer(body, path=names.ADVICE_PATH)
    assert response["allowed"] is True
    assert response["uid"] == ("u" if b'"u"' in body else "")


async def test_the_version_asked_in_is_answered_in(webhook: Endpoint) -> None:
    body = b'{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u","operation":"X"}}'
    _, content = await webhook.send(body, path=names.ADVICE_PATH)
    assert json.loads(content)["apiVersion"] == "admission.k8s.io/v1beta1"


@pytest.mark.parametrize("error", [AccountUnreadable("no"), ZeroDivisionError("detail")])
async def test_trouble_of_ours_is_no_trouble_of_the_pod(
    start: Function,
    settings: WebhookSettings,
    make_pod: Function,
    logged: Function,
    error: Exception,
) -> None:
    class Troubled:
        async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
            assert (namespace, name) == ("default", "default")
            raise error

    webhook = await start(create_app(settings, Troubled()))
    assert "warnings" not in await _ask(webhook, make_pod())
    assert logged()[-1]["event"] in ("advice_left_out", "advice_failed")
