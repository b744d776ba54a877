"""The mutating policies on a real API server give the recorded results of the reference's webhook."""

import asyncio
import copy
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from podpass.kubernetes.client import APPLY_PATCH, KubeClient, KubeError
from podpass.manifests import ManifestValues, build_policy_objects
from podpass.manifests.policy import VOLUME
from tests.control_plane import plane
from tests.run_program import run_text

pytestmark = pytest.mark.kubernetes

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "admission.json").read_text())
TENANT = VECTORS["configs"]["public"]["env"]["AZURE_TENANT_ID"]
SIDECAR = "azure.workload.identity/inject-proxy-sidecar"
CASES = [
    case
    for case in VECTORS["cases"]
    if case["config"] == "public"
    and SIDECAR not in (case["pod"]["metadata"].get("annotations") or {})
]
# The API server refuses the first two in any case. The third has an annotation that the webhook is not
# configured for; the policies refuse it because they do not know the webhook's configuration.
REFUSED_HERE = {"no pod name", "ephemeral containers", "custom endpoint off in config"}
GROUP = "/apis/admissionregistration.k8s.io"
PODS, ACCOUNTS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/serviceaccounts"
MUTATING = "MutatingAdmissionPolicyBinding"
LABEL = {"azure.workload.identity/use": "true"}
_TIMEOUT_SECONDS = 30.0
# Before 1.36 mutating policies are a beta feature that is off by default.
BETA = [
    "--feature-gates=MutatingAdmissionPolicy=true",
    "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
]

SINCE = 34


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    command = [str(plane.programs().api_server), "--version"]
    version = run_text(command, check=True).stdout
    if (found := re.search(r"v1\.([0-9]+)\.", version)) and int(found[1]) < SINCE:
        pytest.skip(f"mutating policies in v1beta1: 1.{SINCE} or newer; this is {version.strip()}")
    with plane.running(tmp_path_factory.mktemp("plane") / "data", BETA) as running:
        yield running


@pytest.fixture
async def client(server: Any) -> AsyncIterator[KubeClient]:
    async with server.admin() as found:
        await _install(found)
        yield found


async def _version(client: KubeClient) -> str:
    """Return the API version in which the server has mutating policies."""
    kinds = {each["kind"] for each in (await client.get(f"{GROUP}/v1"))["resources"]}
    return "v1" if MUTATING in kinds else "v1beta1"


async def _install(client: KubeClient) -> None:
    of_mutating = await _version(client)
    for one in build_policy_objects(ManifestValues.from_sets((), tenant_id=TENANT)):
        version = of_mutating if one["kind"].startswith("Mutating") else "v1"
        body = {**one, "apiVersion": f"admissionregistration.k8s.io/{version}"}
        kind = one["kind"].lower()
        plural = f"{kind}s" if kind.endswith("binding") else f"{kind[:-1]}ies"
        try:
            await client.create(f"{GROUP}/{version}/{plural}", body)
        except KubeError as exc:
            assert exc.status == 409, exc.message  # an object of an earlier test
    await _wait_until_active(client)


async def _wait_until_active(client: KubeClient) -> None:
    """Wait until the API server uses all three policies, with a pod that all of them affect."""
    await _account(client, "ready", {})
    ends = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        refused = await _refusal(client, _pod("ready", annotations={SIDECAR: "true"}))
        mutated = await _create(client, _pod("ready"))
        if "only the webhook" in refused and mutated and mutated["spec"].get("volumes"):
            return
        assert time.monotonic() < ends, refused
        await asyncio.sleep(0.2)


async def _account(client: KubeClient, name: str, annotations: dict[str, str]) -> None:
    """Create an account, or annotate the one that a controller has created."""
    body = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": annotations},
    }
    await client.patch(f"{ACCOUNTS}/{name}?fieldManager=test&force=true", body, APPLY_PATCH)


def _pod(account: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "labels": LABEL, **metadata},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "containers": [{"name": "web", "image": "web"}],
        },
    }


async def _create(client: KubeClient, pod: dict[str, Any]) -> dict[str, Any] | None:
    """Create the pod as a dry run as soon as the policies know its account."""
    ends = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            created: dict[str, Any] = await client.create(f"{PODS}?dryRun=All", pod)
        except KubeError as exc:
            if "create the pod again in a moment" not in exc.message:
                return None
            assert time.monotonic() < ends, exc.message
            await asyncio.sleep(0.05)
        else:
            return created


async def _refusal(client: KubeClient, pod: dict[str, Any]) -> str:
    try:
        await client.create(f"{PODS}?dryRun=All", pod)
    except KubeError as exc:
        return exc.message
    return ""


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the mutated fields with a fixed volume name and without the API server's defaults."""
    named = re.sub(r"azure-workload-identity-reserved-[0-9a-f]{30}", VOLUME, json.dumps(spec))
    spec = json.loads(named)
    found: dict[str, Any] = {
        of: [
            {
                "name": each["name"],
                "env": [
                    {key: value for key, value in one.items() if value != ""}
                    for one in each.get("env", [])
                ],
                "volumeMounts": each.get("volumeMounts", []),
            }
            for each in spec.get(of, [])
        ]
        for of in ("initContainers", "containers")
    }
    for volume in spec.get("volumes", []):
        volume.get("projected", {}).pop("defaultMode", None)
    return {**found, "volumes": spec.get("volumes", [])}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: str(CASES[n]["title"]))
async def test_recorded_case_gives_the_same_result(client: KubeClient, number: int) -> None:
    case = CASES[number]
    pod = copy.deepcopy(case["pod"])
    pod["spec"]["automountServiceAccountToken"] = False
    # A new account for each case, so that no cache has the account of an earlier case.
    account = f"case-{number}" if "serviceAccountName" in pod["spec"] else "default"
    if account != "default":
        pod["spec"]["serviceAccountName"] = account
    if case["serviceAccount"] is not None:
        await _account(client, account, case["serviceAccount"])
    if case["title"] in REFUSED_HERE or not case["expect"]["allowed"]:
        assert await _create(client, pod) is None
        return
    expected = _plain(case["expect"]["pod"]["spec"])
    ends = time.monotonic() + _TIMEOUT_SECONDS
    while (found := _plain((await _create(client, pod) or pod)["spec"])) != expected:
        # A controller has created `default`; the cache may have it without annotations for a short time.
        assert account == "default", found
        assert time.monotonic() < ends, found
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        (
            {"azure.workload.identity/service-account-token-expiration": "soon"},
            "service-account-token-expiration is soon, on the pod or on its ServiceAccount: want 3600",
        ),
        ({SIDECAR: "true"}, "only the webhook injects the sidecar"),
        ({names.LEGACY_TOKEN_PATH: "true"}, "only the webhook mounts the token at a second path"),
        (
            {"azure.workload.identity/use-identity-binding": "True"},
            "only the webhook configures a custom",
        ),
    ],
)
async def test_feature_that_policies_lack_is_refused_with_a_message(
    client: KubeClient, annotations: dict[str, str], said: str
) -> None:
    assert said in await _refusal(client, _pod("ready", annotations=annotations))


async def test_pod_created_with_its_account_is_mutated_or_refused(client: KubeClient) -> None:
    """The API server's cache of accounts may be outdated for a short time."""
    for number in range(20):
        await _account(client, f"fresh-{number}", {})
        try:
            created = await client.create(f"{PODS}?dryRun=All", _pod(f"fresh-{number}"))
        except KubeError as exc:
            assert "create the pod again in a moment" in exc.message
        else:
            assert VOLUME in [volume["name"] for volume in created["spec"]["volumes"]]


async def test_labelled_pod_that_was_not_mutated_is_refused(client: KubeClient) -> None:
    """A pod whose account is not cached yet is not mutated; the third policy refuses it."""
    (binding,) = [
        one
        for one in build_policy_objects(ManifestValues.from_sets((), tenant_id=TENANT))
        if one["kind"] == MUTATING
    ]
    version = await _version(client)
    await client.delete(f"{GROUP}/{version}/{MUTATING.lower()}s/{binding['metadata']['name']}")
    ends = time.monotonic() + _TIMEOUT_SECONDS
    while "create the pod again in a moment" not in await _refusal(client, _pod("ready")):
        assert time.monotonic() < ends
        await asyncio.sleep(0.2)


async def test_pod_without_the_label_is_not_changed(client: KubeClient) -> None:
    created = await _create(client, _pod("ready", labels={}))
    assert created is not None
    assert not created["spec"].get("volumes")
