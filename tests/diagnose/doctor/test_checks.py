"""Decisions about clusters that neither API server of the tests can be: facts in, findings out."""

from dataclasses import replace
from typing import Any

from podpass import names
from podpass.diagnose.doctor import webhook_checks
from podpass.diagnose.doctor.model import CloudFacts, ClusterFacts, Facts
from podpass.facts import FactUnread, Unread
from podpass.kubernetes.objects import Preview

_UNREAD = Unread("not read")
_ENV = [{"name": names.ENV_TOKEN_FILE, "value": f"{names.MOUNT_PATH}/{names.TOKEN_PATH}"}]
_INJECTED = {"spec": {"containers": [{"name": "app", "env": _ENV}]}}
_CLUSTER = ClusterFacts(
    now=0.0,
    server="https://cluster.example",
    namespace_name="n",
    account_name="web",
    namespace={"metadata": {"name": "n", "labels": {}}},
    account={"metadata": {"name": "web"}},
    registrations=_UNREAD,
    preview=_UNREAD,
    discovery=_UNREAD,
    jwks=_UNREAD,
)


def _find(**changes: Any) -> list[str]:
    """Return the ids of the webhook's checks that find something."""
    facts = Facts(cluster=replace(_CLUSTER, **changes), cloud=CloudFacts())
    found = []
    for check in webhook_checks.CHECKS:
        try:
            if check.run(facts) is not None:
                found.append(check.id)
        except FactUnread:
            continue
    return found


def test_admission_policy_counts_as_a_registered_webhook() -> None:
    policy = {"kind": "MutatingAdmissionPolicy", "metadata": {"name": "azure-wi-policy"}}
    assert _find(registrations=[policy], preview=Preview(pod=_INJECTED)) == []
    assert _find(registrations=[], preview=Preview(pod=_INJECTED)) == ["webhook-missing"]


def test_unread_namespace_and_account_have_no_findings() -> None:
    assert _find(namespace=_UNREAD, account=_UNREAD) == []
