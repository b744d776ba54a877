"""Projected tokens: in the file the pod was promised, bound to it, renewed in time, and never logged."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from podpass.crypto import jose
from tests.kubernetes.kubelet.cluster import PODS, Lab, eventually, shell, state

AUDIENCE = "api://AzureADTokenExchange"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


def token_volume(seconds: int = 3600) -> dict[str, object]:
    source = {"audience": AUDIENCE, "expirationSeconds": seconds, "path": "azure-identity-token"}
    return {"name": "token", "projected": {"sources": [{"serviceAccountToken": source}]}}


async def run(lab: Lab, name: str, seconds: int = 3600, **spec: object) -> Path:
    """Run a pod with a token; give the file it is in."""
    mounts = [{"name": "token", "mountPath": "/var/run/secrets/azure/wi/token"}]
    pod = await lab.run(
        name,
        shell("sleep 60", volumeMounts=mounts),
        volumes=[token_volume(seconds)],
        terminationGracePeriodSeconds=0,
        **spec,
    )
    await lab.until(name, lambda pod: "running" in state(pod))
    return Path(
        *(lab.folder, "pods", pod["metadata"]["uid"], "volumes", "token", "azure-identity-token")
    )


async def test_token_is_bound_to_the_pod_and_has_the_requested_audience(lab: Lab) -> None:
    await lab.client.create(ACCOUNTS, {"metadata": {"name": "web"}})
    file = await run(lab, "bound", serviceAccountName="web")
    claims = jose.parse(file.read_text()).claims
    pod = await lab.get("bound")
    assert claims["aud"] == [AUDIENCE]
    assert claims["sub"] == "system:serviceaccount:default:web"
    assert claims["kubernetes.io"]["pod"] == {"name": "bound", "uid": pod["metadata"]["uid"]}
    assert claims["kubernetes.io"]["node"]["name"] == "test-node"
    assert claims["exp"] - claims["iat"] in (3600, 3607, 31536000)


async def test_default_volume_of_the_account_has_token_ca_and_namespace(lab: Lab) -> None:
    script = "cd /var/run/secrets/kubernetes.io/serviceaccount; ls; cat namespace"
    await lab.run("api", shell(script))
    await lab.phase("api", "Succeeded")
    assert (await lab.log("api")).split() == ["ca.crt", "namespace", "token", "default"]


async def test_token_is_renewed_at_80_percent_of_its_lifetime(cluster: Lab) -> None:
    shift = 0.0
    await cluster.start(clock=lambda: time.time() + shift)
    file = await run(cluster, "renewed", seconds=600)
    first = file.read_text()
    shift = 470
    await asyncio.sleep(1)
    assert file.read_text() == first, "not before its time"
    shift = 481
    await eventually(lambda: file.read_text() != first)
    jose.parse(file.read_text())


async def test_token_file_is_private_if_the_pod_sets_its_user(lab: Lab) -> None:
    plain = await run(lab, "plain")
    private = await run(lab, "private", securityContext={"fsGroup": 1000})
    assert plain.stat().st_mode & 0o777 == 0o644
    assert private.stat().st_mode & 0o777 == 0o600
    pods = lab.folder / "pods"
    assert pods.stat().st_mode & 0o777 == 0o700, "others on the machine are kept out above"


async def test_token_request_is_logged_without_the_token(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = await run(lab, "told")
    token = file.read_text()
    told = [each for each in caplog.records if each.message == "token_projected"]
    assert any(
        (vars(each)["pod"], vars(each)["account"], vars(each)["audience"])
        == ("told", "default", AUDIENCE)
        for each in told
    )
    shown = "\n".join(str(vars(each)) for each in caplog.records)
    assert token not in shown
    assert token.rsplit(".", 1)[1] not in shown


async def test_pod_waits_for_a_missing_service_account(lab: Lab) -> None:
    await lab.client.create(ACCOUNTS, {"metadata": {"name": "brief"}})
    await lab.run("orphan", shell("true"), serviceAccountName="brief", schedulerName="late")
    await lab.client.delete(f"{ACCOUNTS}/brief")
    target = {"apiVersion": "v1", "kind": "Node", "name": "test-node"}
    await lab.client.create(f"{PODS}/orphan/binding", {"target": target})
    event = await lab.event("orphan", "FailedMount")
    assert 'serviceaccounts "brief" not found' in event["message"]
