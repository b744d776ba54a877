"""The state of the cloud's pod: what it waits for, what waiting does not end, and Azurite in the pod."""

from typing import Any

import pytest

from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.client import MERGE_PATCH
from podpass.lab.install.object_names import SELECTOR
from podpass.lab.install.objects import CloudValues, build_objects
from podpass.lab.install.rollout import (
    NotInstalled,
    NotReady,
    describe_pods,
    find_pod,
    has_new_pod,
    is_rolled_out,
)
from podpass.settings.storage import parse_accounts, parse_services
from tests.kubeling.cluster import Live

METADATA = {"name": "cloud-1", "namespace": "podpass-cloud", "creationTimestamp": "2026-01-01"}


def pod(*states: dict[str, Any], **status: Any) -> dict[str, Any]:
    names = ("cloud", "azurite")
    statuses = [
        {"name": name, "image": "podpass:1", "state": state}
        for name, state in zip(names, states, strict=False)
    ]
    return {"metadata": METADATA, "status": {"containerStatuses": statuses, **status}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": "not found"}}


@pytest.mark.parametrize(
    ("pods", "text"),
    [
        ([], "waiting for the pod to be created"),
        ([{"metadata": {**METADATA, "deletionTimestamp": "x"}}], "waiting for the old pod to end"),
        ([pod(waiting("ContainerCreating"))], "pod cloud-1: ContainerCreating"),
        ([pod(waiting("ErrImagePull"))], "pod cloud-1: ErrImagePull"),
        ([pod({"running": {}})], "pod cloud-1 is starting"),
        ([{"metadata": METADATA}], "pod cloud-1 is starting"),
        (
            [pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "no node"}])],
            "pod cloud-1 is not scheduled: no node",
        ),
    ],
    ids=["none", "ending", "creating", "pulling", "starting", "new", "unscheduled"],
)
def test_state_says_what_the_pod_waits_for(pods: list[dict[str, Any]], text: str) -> None:
    assert describe_pods(pods) == text


@pytest.mark.parametrize(
    ("reason", "text", "hint"),
    [
        ("ImagePullBackOff", "the image cannot be pulled", "kind load docker-image"),
        ("ErrImageNeverPull", "must not be pulled", "--image"),
        ("InvalidImageName", "the name of the image is not valid", "--image"),
        ("CrashLoopBackOff", "exits at its start", "kubectl logs -n podpass-cloud cloud-1"),
    ],
)
def test_pod_state_that_waiting_cannot_fix_is_an_error(reason: str, text: str, hint: str) -> None:
    with pytest.raises(NotReady, match=text) as caught:
        describe_pods([pod(waiting(reason))])
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_image_of_azurite_that_cannot_be_pulled_names_its_option() -> None:
    with pytest.raises(NotReady, match="the image cannot be pulled") as caught:
        describe_pods([pod({"running": {}}, waiting("ImagePullBackOff"))])
    assert "--azurite-image" in str(caught.value.hint)


def test_container_that_exits_is_named() -> None:
    with pytest.raises(NotReady, match=r"exits at its start \(container azurite\)") as caught:
        describe_pods([pod({"running": {}}, waiting("CrashLoopBackOff"))])
    assert "-c azurite --previous" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("ready", "found"),
    [((True, True), True), ((True, False), False), ((False, True), False), ((), False)],
    ids=["both", "without-azurite", "without-cloud", "no-status"],
)
async def test_pod_is_found_when_all_its_containers_are_ready(
    live: Live, ready: tuple[bool, ...], found: bool
) -> None:
    names = ("cloud", "azurite")
    containers = [{"name": name, "image": "podpass:1"} for name in names]
    about = {"name": "cloud-1", "labels": SELECTOR}
    pods = "/api/v1/namespaces/default/pods"
    async with KubeClient.from_kubeconfig(live.kubeconfig()) as admin:
        await admin.create(pods, {"metadata": about, "spec": {"containers": containers}})
        statuses = [
            {"name": n, "ready": is_ready} for n, is_ready in zip(names, ready, strict=False)
        ]
        change = {"status": {"containerStatuses": statuses}}
        await admin.patch(f"{pods}/cloud-1/status", change, MERGE_PATCH)
        if found:
            assert await find_pod(admin, "default") == "cloud-1"
        else:
            with pytest.raises(NotInstalled):
                await find_pod(admin, "default")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            True,
        ),
        (
            {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            False,
        ),
        (
            {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1},
            False,
        ),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, False),
        ({}, False),
    ],
    ids=["ready", "not-observed", "old-pod-left", "not-available", "new"],
)
def test_deployment_is_rolled_out(status: dict[str, int], expected: bool) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert is_rolled_out(deployment) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, True),
        ({"observedGeneration": 2, "replicas": 1}, False),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}, False),
        ({}, False),
    ],
    ids=["created", "not-created", "pod-of-the-earlier-template", "new"],
)
def test_only_a_pod_of_the_current_template_counts_as_new(
    status: dict[str, int], expected: bool
) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert has_new_pod(deployment) is expected


SEED = "storage_accounts: [{name: orders}, {name: invoices}]\n"
IMAGE = "registry.example/azurite:1"


def build(**more: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the specification of the pod, its container of the cloud, and that of Azurite."""
    values = CloudValues(image="podpass:1", azurite_image=IMAGE, **{"seed": SEED, **more})
    (deployment,) = [each for each in build_objects(values) if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    cloud, azurite = pod["containers"]
    return pod, cloud, azurite


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}


def test_azurite_listens_on_loopback_and_no_port_leads_to_it() -> None:
    _, _, azurite = build()
    command = azurite["command"]
    for service in ("blob", "queue", "table"):
        assert command[command.index(f"--{service}Host") + 1] == "127.0.0.1"
    assert "ports" not in azurite
    published = [
        port["targetPort"]
        for each in build_objects(CloudValues(image="podpass:1", azurite_image=IMAGE))
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    ]
    assert published == ["https", "dns", "dns-tcp", "webhook"]


def test_podpass_and_azurite_have_the_accounts_of_the_seed() -> None:
    _, cloud, azurite = build()
    accounts = variables(azurite)["AZURITE_ACCOUNTS"]
    assert variables(cloud)["AZURITE_ACCOUNTS"] == accounts
    assert set(parse_accounts(accounts)) == {"orders", "invoices"}
    services = parse_services(variables(cloud)["PODPASS_AZURITE"])
    assert services == {
        "blob": "http://127.0.0.1:10000",
        "queue": "http://127.0.0.1:10001",
        "table": "http://127.0.0.1:10002",
    }


def test_seed_without_accounts_leaves_azurite_its_own_account() -> None:
    for seed in ("", "vaults: []\n"):
        _, cloud, azurite = build(seed=seed)
        assert "AZURITE_ACCOUNTS" not in variables(cloud) | variables(azurite)


def test_azurite_has_the_security_context_of_the_cloud() -> None:
    _, cloud, azurite = build()
    assert azurite["securityContext"] == cloud["securityContext"]
    assert azurite["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("claim", "mount"),
    [
        ("", {"name": "blobs", "mountPath": "/data"}),
        ("cloud-data", {"name": "data", "subPath": "azurite", "mountPath": "/data"}),
    ],
    ids=["no-claim", "claim"],
)
def test_data_is_in_the_claim_if_there_is_one(claim: str, mount: dict[str, str]) -> None:
    """The folder of the cloud, with its keys, is not in the container of Azurite."""
    pod, _, azurite = build(claim=claim)
    assert azurite["volumeMounts"] == [mount]
    assert mount["name"] in {each["name"] for each in pod["volumes"]}


def test_installation_without_azurite_has_one_container() -> None:
    values = CloudValues(image="podpass:1", seed=SEED)
    (deployment,) = [each for each in build_objects(values) if each["kind"] == "Deployment"]
    (cloud,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not {"PODPASS_AZURITE", "AZURITE_ACCOUNTS"} & variables(cloud).keys()
