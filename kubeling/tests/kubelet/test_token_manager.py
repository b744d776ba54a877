"""Projected tokens: written to the file in the pod, bound to the pod, renewed in time, and never logged."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from tests import tokens
from tests.kubelet.cluster import NODE, PODS, KubeletCluster, eventually, shell, state

AUDIENCE = "api://AzureADTokenExchange"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


def token_volume(seconds: int = 3600) -> dict[str, object]:
    source = {"audience": AUDIENCE, "expirationSeconds": seconds, "path": "azure-identity-token"}
    return {"name": "token", "projected": {"sources": [{"serviceAccountToken": source}]}}


async def run(cluster: KubeletCluster, name: str, seconds: int = 3600, **spec: object) -> Path:
    """Run a pod with a token; return the path of the token file."""
    mounts = [{"name": "token", "mountPath": "/var/run/secrets/azure/wi/token"}]
    pod = await cluster.run(
        name,
        shell("sleep 60", volumeMounts=mounts),
        volumes=[token_volume(seconds)],
        terminationGracePeriodSeconds=0,
        **spec,
    )
    await cluster.until(name, lambda pod: "running" in state(pod))
    return Path(
        *(
            cluster.folder,
            "pods",
            pod["metadata"]["uid"],
            "volumes",
            "token",
            "azure-identity-token",
        )
    )


async def test_token_is_bound_to_the_pod_and_has_the_requested_audience(
    cluster: KubeletCluster,
) -> None:
    await cluster.client.create(ACCOUNTS, {"metadata": {"name": "web"}})
    file = await run(cluster, "bound", serviceAccountName="web")
    claims = tokens.parse(file.read_text()).claims
    pod = await cluster.get("bound")
    assert claims["aud"] == [AUDIENCE]
    assert claims["sub"] == "system:serviceaccount:default:web"
    assert claims["kubernetes.io"]["pod"] == {"name": "bound", "uid": pod["metadata"]["uid"]}
    assert claims["kubernetes.io"]["node"]["name"] == NODE
    assert claims["exp"] - claims["iat"] in (3600, 3607, 31536000)


async def test_default_volume_of_the_account_has_token_ca_and_namespace(
    cluster: KubeletCluster,
) -> None:
    script = "cd /var/run/secrets/kubernetes.io/serviceaccount; ls; cat namespace"
    await cluster.run("api", shell(script))
    await cluster.phase("api", "Succeeded")
    assert (await cluster.log("api")).split() == ["ca.crt", "namespace", "token", "default"]


async def test_token_is_renewed_at_80_percent_of_its_lifetime(bare_cluster: KubeletCluster) -> None:
    shift = 0.0
    await bare_cluster.start(clock=lambda: time.time() + shift)
    file = await run(bare_cluster, "renewed", seconds=600)
    first = file.read_text()
    shift = 470
    await asyncio.sleep(1)
    assert file.read_text() == first, "the token is not renewed too early"
    shift = 481
    await eventually(lambda: file.read_text() != first)
    tokens.parse(file.read_text())


async def test_token_file_is_private_if_the_pod_sets_its_user(cluster: KubeletCluster) -> None:
    plain = await run(cluster, "plain")
    private = await run(cluster, "private", securityContext={"fsGroup": 1000})
    assert plain.stat().st_mode & 0o777 == 0o644
    assert private.stat().st_mode & 0o777 == 0o600
    pods = cluster.folder / "pods"
    assert pods.stat().st_mode & 0o777 == 0o700, (
        "other users of the machine cannot enter the parent folder"
    )


async def test_token_request_is_logged_without_the_token(
    cluster: KubeletCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = await run(cluster, "logged")
    token = file.read_text()
    logged = [each for each in caplog.records if each.message == "token_projected"]
    assert any(
        (vars(each)["pod"], vars(each)["account"], vars(each)["audience"])
        == ("logged", "default", AUDIENCE)
        for each in logged
    )
    shown = "\n".join(str(vars(each)) for each in caplog.records)
    assert token not in shown
    assert token.rsplit(".", 1)[1] not in shown


async def test_pod_waits_for_a_missing_service_account(
    cluster: KubeletCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await cluster.client.create(ACCOUNTS, {"metadata": {"name": "brief"}})
    await cluster.run("orphan", shell("true"), serviceAccountName="brief", schedulerName="late")
    await cluster.client.delete(f"{ACCOUNTS}/brief")
    target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
    await cluster.client.create(f"{PODS}/orphan/binding", {"target": target})
    event = await cluster.event("orphan", "FailedMount")
    assert 'serviceaccounts "brief" not found' in event["message"]
    hop = next(vars(each) for each in caplog.records if each.message == "token_projection_refused")
    assert (hop["pod"], hop["outcome"]) == ("orphan", "refused")
    assert hop["code"] == "NotFound"
    assert 'serviceaccounts "brief" not found' in hop["cause"]
