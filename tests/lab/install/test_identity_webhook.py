"""podpass's webhook, installed with the cloud: its first certificate, and later ones."""

import base64
import ssl
import time
from typing import Any

import pytest

from podpass.admission.certificates.secret_codec import decode_secret
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.lab.install import identity_webhook
from podpass.lab.install.apply import ObjectChange
from podpass.lab.install.objects import CloudValues, Object
from podpass.manifests import ManifestValues, build_webhook_objects
from tests.kubeling.cluster import Live

NOW = time.time()
TENANT = "11111111-2222-4333-8444-555555555555"
HOST = "azure-wi-webhook-webhook-service.azure-workload-identity-system.svc"
SECRET = "/api/v1/namespaces/azure-workload-identity-system/secrets/azure-wi-webhook-server-cert"
REGISTRATION = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    "/azure-wi-webhook-mutating-webhook-configuration"
)


def objects() -> list[Object]:
    return identity_webhook.build_own_webhook(CloudValues(image="podpass:1"), TENANT)


async def read_data(admin: KubeClient) -> dict[str, bytes]:
    found = (await admin.get(SECRET))["data"]
    return {name: base64.b64decode(value) for name, value in found.items()}


async def read_bundles(admin: KubeClient) -> list[Any]:
    hooks = (await admin.get(REGISTRATION))["webhooks"]
    return [base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in hooks]


async def test_registration_has_the_ca_of_the_first_certificate(admin: KubeClient) -> None:
    await identity_webhook.apply_own(admin, objects(), NOW)
    data = await read_data(admin)
    stored = decode_secret(data, HOST)
    assert stored.current is not None
    assert stored.leaf is not None
    assert stored.faults == ()
    assert stored.leaf.ca_id == stored.current.id
    assert await read_bundles(admin) == [data["ca.crt"]]
    ssl.create_default_context(cadata=data["ca.crt"].decode())


async def test_later_installation_keeps_the_certificate_that_the_webhook_has_rotated(
    admin: KubeClient,
) -> None:
    await identity_webhook.apply_own(admin, objects(), NOW)
    secret, registration = await admin.get(SECRET), await admin.get(REGISTRATION)
    rotated = base64.b64encode(b"rotated").decode()
    secret["data"]["ca.crt"] = registration["webhooks"][0]["clientConfig"]["caBundle"] = rotated
    await admin.replace(SECRET, secret)
    await admin.replace(REGISTRATION, registration)
    changes = await identity_webhook.apply_own(admin, objects(), NOW)
    assert {change for _, change in changes} == {ObjectChange.UNCHANGED}
    assert (await read_data(admin))["ca.crt"] == b"rotated"
    assert await read_bundles(admin) == [b"rotated"]


def test_readiness_is_checked_often_and_is_lost_as_late_as_in_the_chart() -> None:
    [own] = [each for each in objects() if each["kind"] == "Deployment"]
    manifest = ManifestValues.from_sets(["image.repository=podpass"], tenant_id=TENANT)
    chart_objects = build_webhook_objects(manifest)
    deployment = next(one for one in chart_objects if one["kind"] == "Deployment")
    (chart,) = deployment["spec"]["template"]["spec"]["containers"]
    [container] = own["spec"]["template"]["spec"]["containers"]
    ours, usual = container["readinessProbe"], chart["readinessProbe"]
    assert ours["periodSeconds"] == 1
    # Three failures are the default of Kubernetes.
    assert ours["failureThreshold"] == 3 * usual["periodSeconds"]
    assert ours["httpGet"] == usual["httpGet"]


async def read_policies(admin: KubeClient) -> list[str]:
    return [each["failurePolicy"] for each in (await admin.get(REGISTRATION))["webhooks"]]


async def test_new_webhook_refuses_no_pod_until_the_installation_is_complete(
    admin: KubeClient,
) -> None:
    changes = await identity_webhook.start_own(admin, objects(), NOW)
    assert {change for _, change in changes} == {ObjectChange.CREATED}
    assert await read_policies(admin) == ["Ignore"]
    # A failed installation that is started again.
    await identity_webhook.start_own(admin, objects(), NOW)
    assert await read_policies(admin) == ["Ignore"]
    bundles = await read_bundles(admin)
    assert bundles != [b""]
    [(_, change)] = await identity_webhook.complete_own(admin, objects())
    assert change == ObjectChange.CONFIGURED
    assert await read_policies(admin) == ["Fail"]
    assert await read_bundles(admin) == bundles


async def test_later_installation_leaves_the_policy_of_a_complete_webhook(
    admin: KubeClient,
) -> None:
    await identity_webhook.start_own(admin, objects(), NOW)
    await identity_webhook.complete_own(admin, objects())
    changes = await identity_webhook.start_own(admin, objects(), NOW)
    changes += await identity_webhook.complete_own(admin, objects())
    assert {change for _, change in changes} == {ObjectChange.UNCHANGED}
    assert await read_policies(admin) == ["Fail"]


async def test_registration_whose_webhooks_were_removed_is_completed(admin: KubeClient) -> None:
    await identity_webhook.apply_own(admin, objects(), NOW)
    await admin.patch(REGISTRATION, {"webhooks": None})
    await identity_webhook.start_own(admin, objects(), NOW)
    assert await read_policies(admin) == ["Ignore"]
    await identity_webhook.complete_own(admin, objects())
    assert await read_policies(admin) == ["Fail"]


async def test_installation_that_was_interrupted_is_reported(admin: KubeClient) -> None:
    assert "not registered" in await identity_webhook.read_problem(admin)
    await identity_webhook.start_own(admin, objects(), NOW)
    assert "not complete" in await identity_webhook.read_problem(admin)
    await identity_webhook.complete_own(admin, objects())
    assert await identity_webhook.read_problem(admin) == ""


async def test_policy_of_a_webhook_that_is_not_podpasss_is_not_reported(admin: KubeClient) -> None:
    name = REGISTRATION.rpartition("/")[2]
    hook = {
        "name": "mutation.azure-workload-identity.io",
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
    }
    body = {"metadata": {"name": name}, "webhooks": [hook]}
    await admin.create(REGISTRATION.rpartition("/")[0], body)
    assert await identity_webhook.read_problem(admin) == ""


async def test_reader_without_the_right_to_registrations_gets_no_error(
    admin: KubeClient, live: Live
) -> None:
    body = {"metadata": {"name": "reader"}}
    await admin.create("/api/v1/namespaces/default/serviceaccounts", body)
    path = "/api/v1/namespaces/default/serviceaccounts/reader/token"
    token = (await admin.create(path, {"spec": {}}))["status"]["token"]
    async with KubeClient.from_kubeconfig(live.kubeconfig(token)) as reader:
        with pytest.raises(KubeError, match="cannot get resource"):
            await reader.get(REGISTRATION)
        assert await identity_webhook.read_problem(reader) == ""


async def test_no_certificate_is_created_for_an_existing_secret(admin: KubeClient) -> None:
    await identity_webhook.apply_own(admin, objects(), NOW)
    before = await read_data(admin)
    await admin.delete(REGISTRATION)
    await identity_webhook.apply_own(admin, objects(), NOW)
    assert await read_data(admin) == before
    # The webhook adds its CA to the new registration.
    assert await read_bundles(admin) == [b""]
