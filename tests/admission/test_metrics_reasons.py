"""Each response is counted once, with labels from closed sets."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass import names
from podpass.account.model import PodRefused
from podpass.admission.handler import create_app
from podpass.admission.memory_budget import MemoryBudgetExhausted
from podpass.admission.metrics_reasons import INTERNAL_ERROR, REASON_LABELS
from podpass.admission.service_accounts import AccountNotFound, AccountUnreadable
from podpass.admission.wire import BadReview, WrongResource
from podpass.errors import Error
from podpass.http.server import BodyTooLarge
from podpass.settings import WebhookSettings
from tests.admission.endpoint import Endpoint

Function = Callable[..., Any]
Seen = list[tuple[str, str, str]]


class Accounts:
    """A ServiceAccount reader with every kind of error."""

    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        if name == "broken":
            raise ZeroDivisionError
        if name == "unreadable":
            raise AccountUnreadable("no")
        if name != "default":
            raise AccountNotFound(namespace, name)
        return {names.CLIENT_ID: "client"}


@pytest.fixture
def observations() -> Seen:
    return []


@pytest.fixture
async def observed(start: Function, settings: WebhookSettings, observations: Seen) -> Endpoint:
    def observe(outcome: str, reason: str, namespace: str, seconds: float) -> None:
        assert 0 < seconds < 60 or (seconds == 0 and reason == "body_too_large")
        observations.append((outcome, reason, namespace))

    endpoint: Endpoint = await start(create_app(settings, Accounts(), metrics=observe))
    return endpoint


@pytest.mark.parametrize(
    ("changes", "request_", "outcome", "reason"),
    [
        ({}, {}, "mutated", ""),
        ({}, {"operation": "DELETE"}, "unchanged", ""),
        ({"serviceAccountName": "late"}, {}, "refused", "account_not_found"),
        ({"serviceAccountName": "unreadable"}, {}, "failed", "account_unreadable"),
        ({"serviceAccountName": "broken"}, {}, "failed", "internal_error"),
        ({"annotations": {names.TOKEN_EXPIRATION: "1"}}, {}, "refused", "bad_annotation"),
        (
            {"annotations": {names.INJECT_PROXY: ""}, "hostNetwork": True},
            {},
            "refused",
            "proxy_on_host_network",
        ),
        (
            {
                "containers": [
                    {"name": "a", "volumeMounts": [{"name": "x", "mountPath": names.MOUNT_PATH}]}
                ]
            },
            {},
            "refused",
            "mount_path_taken",
        ),
        ({"containers": 7}, {}, "refused", "malformed_pod"),
    ],
)
async def test_response_is_counted_once_with_its_reason(
    observed: Endpoint,
    make_pod: Function,
    observations: Seen,
    changes: dict[str, Any],
    request_: dict[str, Any],
    outcome: str,
    reason: str,
) -> None:
    await observed.review(make_pod(**changes), **request_)
    assert observations == [(outcome, reason, "default")]


async def test_second_pass_is_counted_as_unchanged(
    observed: Endpoint,
    make_pod: Function,
    observations: Seen,
    mutate_pod: Function,
    mutate_and_apply: Function,
) -> None:
    await observed.review(
        mutate_and_apply(make_pod(), mutate_pod(make_pod(), {names.CLIENT_ID: "client"}))
    )
    assert observations == [("unchanged", "", "default")]


async def test_pod_of_another_namespace_counts_for_the_request_namespace(
    observed: Endpoint, make_pod: Function, observations: Seen
) -> None:
    await observed.review(make_pod(), namespace="other")
    assert observations == [("refused", "namespace_mismatch", "other")]


async def test_invalid_review_is_counted_without_namespace(
    observed: Endpoint, make_pod: Function, observations: Seen
) -> None:
    await observed.answer(b"{")
    await observed.answer(b" " * 4_000_000)
    await observed.review(make_pod(), resource={"resource": "deployments"})
    assert observations == [
        ("refused", "bad_review", ""),
        ("refused", "body_too_large", ""),
        ("refused", "wrong_resource", ""),
    ]


async def test_second_entry_and_other_paths_are_not_counted(
    observed: Endpoint, make_pod: Function, observations: Seen
) -> None:
    await observed.review(make_pod(), path=names.ADVICE_PATH)
    await observed.get("/healthz")
    assert observations == []


def test_reason_labels_are_all_error_codes_and_internal_error() -> None:
    kinds: list[type[Error]] = [
        *(AccountNotFound, AccountUnreadable, BadReview, BodyTooLarge),
        *(MemoryBudgetExhausted, WrongResource),
    ]
    # The webhook of `podpass cloud` has refusals of its own, and is another process.
    refusals = [
        kind
        for kind in PodRefused.__subclasses__()
        if not kind.__module__.startswith("podpass.lab.")
    ]
    raised = {kind.code for kind in (*kinds, *refusals)}
    assert {*raised, INTERNAL_ERROR} == REASON_LABELS
