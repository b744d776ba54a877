"""Builder for the tests of this stage: parse the annotations of a pod and its account."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass.account.annotations import parse_identity_config
from podpass.account.model import PodIdentityConfig, ServiceAccount, parse_pod

Read = Callable[..., PodIdentityConfig]


def _read(
    pod: Mapping[str, Any] | None = None,
    account: Mapping[str, str] | None = None,
    *,
    custom_endpoint_annotation: str | None = None,
    **spec: Any,
) -> PodIdentityConfig:
    raw = {"metadata": {"name": "app", "annotations": pod}, "spec": spec}
    return parse_identity_config(
        parse_pod(raw, "default"),
        ServiceAccount(namespace="default", name="web", annotations=account or {}),
        tenant_id="own-tenant",
        custom_endpoint_annotation=custom_endpoint_annotation,
    )


@pytest.fixture
def read() -> Read:
    """Return a function that parses the configuration from annotations of pod and account."""
    return _read
