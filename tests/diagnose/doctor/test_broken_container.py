"""Set-ups that only the inside of a running container shows, on a local instance."""

import asyncio
import base64
import itertools
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from podpass import names
from podpass.diagnose.doctor.cluster_facts import WorkloadRef
from podpass.diagnose.doctor.model import Diagnosis
from podpass.diagnose.doctor.run import diagnose
from podpass.kubernetes.client import KubeClient
from tests.diagnose.doctor.lab import read_no_cloud
from tests.lab.instance.instances import CLIENT, Podpass

pytestmark = pytest.mark.processes

_numbers = itertools.count()
_SLEEP = ["sleep", "100000"]
UNKNOWN = "99999999-aaaa-4bbb-8ccc-000000000001"
SYMPTOMS = {"container-not-running", "container-error"}
Object = dict[str, Any]


@dataclass
class ContainerLab:
    """A namespace of a running instance, in which pods really run."""

    client: KubeClient
    namespace: str
    podpass: Podpass

    async def create(self, kind: str, name: str, api: str = "v1", **body: Any) -> Object:
        made = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **body}
        path = f"/api/v1/namespaces/{self.namespace}/{kind.lower()}s"
        return await self.client.create(path, made)

    async def pod(
        self,
        container: Object,
        until: Callable[[Object], bool],
        annotations: Object | None = None,
        **spec: Any,
    ) -> None:
        """Create the pod `web` and wait for its status."""
        about: Object = {"name": "web", "labels": {names.USE_LABEL: "true"}}
        about["annotations"] = annotations or {}
        one = {"name": "app", "image": "none", "command": _SLEEP, **container}
        spec = {"serviceAccountName": "web", "containers": [one], **spec}
        await self.create("Pod", "web", metadata=about, spec=spec)
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        async with asyncio.timeout(60):
            async for _, item in self.client.watch(path):
                if until(item):
                    return

    async def diagnose(self) -> Diagnosis:
        [found] = await diagnose(
            self.client,
            [WorkloadRef(namespace=self.namespace, pod="web")],
            read_cloud=read_no_cloud,
        )
        return found

    async def token(self, **changes: Any) -> str:
        """Return a token like that of the pod with other claims; its signature is not valid."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/web/token"
        made = await self.client.create(path, {"spec": {"audiences": [names.EXCHANGE_AUDIENCE]}})
        header, claims, _ = made["status"]["token"].split(".")
        given = [_decode(header), _decode(claims)]
        for part in given:
            part |= {name: value for name, value in changes.items() if name in part}
        return ".".join([*map(_encode, given), "c2lnbmF0dXJl"])


def _decode(part: str) -> Object:
    found: Object = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _encode(part: Object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _is_running(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return all("running" in (each.get("state") or {}) for each in statuses)


def _has_restarted(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    waiting = (statuses[0].get("state") or {}).get("waiting") or {}
    return waiting.get("reason") == "CrashLoopBackOff"


def _waits_for_its_image(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    waiting = (statuses[0].get("state") or {}).get("waiting") or {}
    return waiting.get("reason") == "ImageUnknown"


@pytest.fixture
async def container_lab(running: Podpass) -> AsyncIterator[ContainerLab]:
    name = f"container-{next(_numbers)}"
    async with KubeClient.from_kubeconfig(running.data_dir / "admin.kubeconfig") as client:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await client.create("/api/v1/namespaces", body)
        made = ContainerLab(client=client, namespace=name, podpass=running)
        about = {"name": "web", "annotations": {names.CLIENT_ID: CLIENT}}
        await made.create("ServiceAccount", "web", metadata=about)
        yield made
        await client.delete(f"/api/v1/namespaces/{name}")


def _env(**variables: str) -> list[Object]:
    return [{"name": name, "value": value} for name, value in variables.items()]


async def test_healthy_pod_has_no_finding(container_lab: ContainerLab) -> None:
    await container_lab.pod({}, _is_running)
    found = await container_lab.diagnose()
    assert found.findings == []
    assert {"token-file-missing", "token-subject", "token-key-unknown"} <= {*found.passed}


async def test_healthy_pod_with_the_sidecar_has_no_finding(container_lab: ContainerLab) -> None:
    annotations = {names.INJECT_PROXY: "true", names.PROXY_MODE: "env"}
    await container_lab.pod({}, _is_running, annotations)
    assert (await container_lab.diagnose()).findings == []


async def test_unreachable_authority_is_named(container_lab: ContainerLab) -> None:
    await container_lab.pod({"env": _env(AZURE_AUTHORITY_HOST="https://127.0.0.1:1/")}, _is_running)
    [found] = (await container_lab.diagnose()).findings
    assert found.check == "authority-unreachable"
    assert found.fix.startswith("remove AZURE_AUTHORITY_HOST from container app")


async def test_missing_token_file_is_named(container_lab: ContainerLab) -> None:
    token = {"path": "token", "audience": names.EXCHANGE_AUDIENCE}
    volume = {"name": "own", "projected": {"sources": [{"serviceAccountToken": token}]}}
    mounts = [{"name": "own", "mountPath": "/own"}, {"name": "empty", "mountPath": "/own/inner"}]
    container = {"env": _env(AZURE_FEDERATED_TOKEN_FILE="/own/inner/token"), "volumeMounts": mounts}
    await container_lab.pod(
        container, _is_running, volumes=[volume, {"name": "empty", "emptyDir": {}}]
    )
    found = await container_lab.diagnose()
    named = [each.check for each in found.findings]
    assert named == ["token-volume-missing", "token-file-missing"]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"sub": "system:serviceaccount:other:web"}, "token-subject"),
        ({"aud": ["https://vault.azure.net"]}, "token-audience"),
        ({"exp": 1}, "token-expired"),
        ({"iss": "https://issuer.example/"}, "token-issuer"),
        ({"kid": "another"}, "token-key-unknown"),
    ],
    ids=["subject", "audience", "expired", "issuer", "key"],
)
async def test_invalid_token_that_a_secret_contains_is_reported(
    container_lab: ContainerLab, changes: Object, check: str
) -> None:
    token = await container_lab.token(**changes)
    await container_lab.create("Secret", "own", stringData={"token": token})
    await container_lab.pod(
        {
            "env": _env(AZURE_FEDERATED_TOKEN_FILE="/own/token"),
            "volumeMounts": [{"name": "own", "mountPath": "/own"}],
        },
        _is_running,
        volumes=[{"name": "own", "secret": {"secretName": "own"}}],
    )
    found = await container_lab.diagnose()
    assert [each.check for each in found.findings] == ["token-volume-missing", check]


async def _mount_file(
    container_lab: ContainerLab, key: str, text: str, path: str, **env: str
) -> None:
    await container_lab.create("ConfigMap", "files", data={key: text})
    items = [{"key": key, "path": path, "mode": 0o755}]
    await container_lab.pod(
        {"env": _env(**env), "volumeMounts": [{"name": "files", "mountPath": "/files"}]},
        _is_running,
        volumes=[{"name": "files", "configMap": {"name": "files", "items": items}}],
    )


async def test_old_sdk_is_named(container_lab: ContainerLab) -> None:
    metadata = "Metadata-Version: 2.1\nName: azure-identity\nVersion: 1.5.0\n"
    path = "azure_identity-1.5.0.dist-info/METADATA"
    await _mount_file(container_lab, "metadata", metadata, path, PYTHONPATH="/files")
    [found] = (await container_lab.diagnose()).findings
    assert found.check == "sdk-too-old"
    assert "1.13.0" in found.message


@pytest.mark.skipif(shutil.which("node") is None, reason="node: install Node.js")
@pytest.mark.parametrize(
    ("package", "version", "says"),
    [("@azure/identity", "3.1.4", "3.2.0"), ("@azure/ms-rest-nodeauth", "3.1.1", "sidecar")],
    ids=["identity", "nodeauth"],
)
async def test_old_sdk_of_node_is_named(
    container_lab: ContainerLab, package: str, version: str, says: str
) -> None:
    text = json.dumps({"name": package, "version": version})
    await _mount_file(container_lab, "package", text, f"{package}/package.json", NODE_PATH="/files")
    [found] = (await container_lab.diagnose()).findings
    assert found.check == "sdk-too-old"
    assert f"{package} {version}" in found.message
    assert says in found.message + found.fix


async def test_wrong_clock_is_named(container_lab: ContainerLab) -> None:
    script = "#!/bin/sh\necho $(( $(/bin/date +%s) + 3600 ))\n"
    await _mount_file(
        container_lab, "date", script, "date", PATH="/files:/usr/local/bin:/usr/bin:/bin"
    )
    [found] = (await container_lab.diagnose()).findings
    assert found.check == "clock-wrong"
    assert "ahead of" in found.message


async def test_command_for_an_unknown_image_is_the_fix(container_lab: ContainerLab) -> None:
    """`kubectl describe` would show the same text without the command."""
    unknown = {"image": "example.org/shop/web:1", "command": None}
    await container_lab.pod(unknown, _waits_for_its_image)
    [found] = (await container_lab.diagnose()).findings
    assert found.check == "container-not-running"
    assert found.fix.startswith("podpass image add example.org/shop/web:1 -- COMMAND ARGS...")


async def test_crashing_container_is_named(container_lab: ContainerLab) -> None:
    await container_lab.pod({"command": ["false"]}, _has_restarted)
    found = await container_lab.diagnose()
    assert [each.check for each in found.findings] == ["container-not-running"]


_READ = """
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
SecretClient("https://{}" + ".vault.azure.net", DefaultAzureCredential()).get_secret("{}")
"""


@dataclass(frozen=True)
class StoppedPod:
    """A pod whose container stops: its fault, and the first finding of the doctor.

    `trust` changes the federated credential, None for an identity without one. `says` is a part of the
    message, `fix` of the fix.
    """

    name: str
    check: str
    says: str = ""
    fix: str = ""
    program: str = "raise SystemExit(1)"
    trust: dict[str, Any] | None = field(default_factory=dict)
    role: bool = True
    account: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=lambda: {names.USE_LABEL: "true"})
    container: Object = field(default_factory=dict)
    volumes: tuple[Object, ...] = ()


_OWN_TOKEN: Object = {
    "env": _env(AZURE_FEDERATED_TOKEN_FILE="/own/token"),
    "volumeMounts": [{"name": "own", "mountPath": "/own"}],
}
_NOT_THERE = {"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "p"}}}]}
_NO_KEY = {"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "expired", "key": "p"}}}]}
STOPPED_PODS = (
    StoppedPod("wrong-client", "identity-unknown", account={names.CLIENT_ID: UNKNOWN}),
    StoppedPod("no-client-id", "client-id-missing", account={names.CLIENT_ID: ""}),
    StoppedPod("no-credential", "credential-missing", trust=None),
    StoppedPod("wrong-subject", "credential-subject-differs", trust={"subject": "system:a:b"}),
    StoppedPod("wrong-audience", "credential-audience-differs", trust={"audiences": ["api://x"]}),
    StoppedPod(
        "wrong-issuer", "credential-issuer-differs", trust={"issuer": "https://example.com/"}
    ),
    StoppedPod("no-label", "label-missing", labels={}),
    StoppedPod("wrong-tenant", "tenant-unknown", account={names.TENANT_ID: UNKNOWN}),
    *(
        StoppedPod(
            f"authority-{name}",
            "authority-of-other-cloud",
            container={"env": _env(AZURE_AUTHORITY_HOST=host)},
            fix="remove AZURE_AUTHORITY_HOST from container app",
            program=_READ.format("tools-vault", "greeting"),
        )
        for name, host in (
            ("of-another-cloud", "https://login.microsoftonline.us/"),
            ("unknown", "https://login.example.com/"),
            ("without-tls", "http://login.microsoftonline.com/"),
        )
    ),
    StoppedPod(
        "expired-token",
        "token-volume-missing",
        container=_OWN_TOKEN,
        volumes=({"name": "own", "secret": {"secretName": "expired"}},),
    ),
    StoppedPod(
        "no-secret", "reference-missing", "Secret", "kubectl create secret", container=_NOT_THERE
    ),
    StoppedPod("no-key", "reference-missing", "couldn't find key p", container=_NO_KEY),
    StoppedPod(
        "no-vault",
        "vault-unknown",
        container={"env": _env(VAULT_URL="https://absent-vault.vault.azure.net")},
    ),
    StoppedPod(
        "no-role",
        "role-missing",
        role=False,
        container={"env": _env(VAULT_URL="https://tools-vault.vault.azure.net")},
    ),
    # Causes that only the error of the program shows.
    StoppedPod(
        "no-vault-secret",
        "container-error",
        "SecretNotFound",
        program=_READ.format("tools-vault", "absent"),
    ),
    StoppedPod(
        "no-role-in-program",
        "container-error",
        "has no role at the vault",
        "--scope VAULT_ID",
        program=_READ.format("tools-vault", "greeting"),
        role=False,
    ),
)


def _build_seed(namespace: str) -> Object:
    """Return the identities of the stopped pods, and their roles."""
    identities: list[Object] = []
    access = [{"identity": "web", "role": "Key Vault Secrets User"}]
    for number, each in enumerate(STOPPED_PODS):
        subject = f"system:serviceaccount:{namespace}:{each.name}"
        trust = {"name": each.name, "issuer": "cluster", "subject": subject, **(each.trust or {})}
        about: Object = {"name": each.name, "client_id": _client_id(number)}
        identities.append(
            about | ({"federated_credentials": [trust]} if each.trust is not None else {})
        )
        if each.role:
            access.append({"identity": each.name, "role": "Key Vault Secrets User"})
    return {"identities": identities, "vaults": [{"name": "tools-vault", "access": access}]}


def _client_id(number: int) -> str:
    return f"22222222-bbbb-4bbb-8ccc-{number:012}"


@pytest.mark.timeout(600)
async def test_cause_of_each_stopped_pod_is_named_first(
    container_lab: ContainerLab, tmp_path: Path
) -> None:
    """Each pod in both forms: ended, and crash-looping."""
    seed = tmp_path / "seed.yaml"
    seed.write_text(json.dumps(_build_seed(container_lab.namespace)))
    done = container_lab.podpass("apply", "-f", str(seed))
    assert done.returncode == 0, done.stderr
    expired = await container_lab.token(exp=1)
    await container_lab.create("Secret", "expired", stringData={"token": expired})
    wrong = {}
    for number, each in enumerate(STOPPED_PODS):
        annotations = {names.CLIENT_ID: _client_id(number), **each.account}
        about = {"annotations": {name: value for name, value in annotations.items() if value}}
        await container_lab.create(
            "ServiceAccount", each.name, metadata={"name": each.name, **about}
        )
        pods = {f"{each.name}-{policy.lower()}": policy for policy in ("Never", "Always")}
        await asyncio.gather(
            *(_create_stopped(container_lab, name, each, policy) for name, policy in pods.items())
        )
        for name in pods:
            found = await _diagnose(container_lab, name)
            first, last = found[0], found[-1]
            if (
                first["check"] != each.check
                or each.says not in f"{first['object']} {first['message']}"
                or each.fix not in first["fix"]
                or (each.check not in SYMPTOMS and last["check"] not in {*SYMPTOMS, each.check})
                # The log has only the error that the first finding explains.
                or (each.check == "authority-of-other-cloud" and len(found) > 1)
            ):
                wrong[name] = found
            path = f"/api/v1/namespaces/{container_lab.namespace}/pods/{name}"
            await container_lab.client.delete(path)
    assert wrong == {}


async def _create_stopped(
    container_lab: ContainerLab, name: str, each: StoppedPod, policy: str
) -> None:
    """Create a pod and wait until it has stopped, or cannot start."""
    one = {
        "name": "app",
        "image": "none",
        "command": ["python", "-c", each.program],
        **each.container,
    }
    spec = {
        "serviceAccountName": each.name,
        "restartPolicy": policy,
        "containers": [one],
        "volumes": list(each.volumes),
    }
    await container_lab.create(
        "Pod", name, metadata={"name": name, "labels": each.labels}, spec=spec
    )
    path = f"/api/v1/namespaces/{container_lab.namespace}/pods"
    async with asyncio.timeout(120):
        params = {"fieldSelector": f"metadata.name={name}"}
        async for _, item in container_lab.client.watch(path, params):
            [status] = item.get("status", {}).get("containerStatuses") or [{}]
            state = status.get("state") or {}
            reason = (state.get("waiting") or {}).get("reason")
            if "terminated" in state or reason in (
                "CrashLoopBackOff",
                "CreateContainerConfigError",
            ):
                return


async def _diagnose(container_lab: ContainerLab, name: str) -> list[Object]:
    """Return the findings that the command line prints."""
    where = ["-n", container_lab.namespace]
    where += ["--kubeconfig", str(container_lab.podpass.data_dir / "kubeconfig")]
    done = await asyncio.to_thread(
        container_lab.podpass, "doctor", f"pod/{name}", *where, "-o", "json"
    )
    assert done.returncode == 1, done.stderr
    found: list[Object] = json.loads(done.stdout)["workloads"][0]["findings"]
    return found


async def test_output_has_no_token_and_the_exit_code_follows_the_result(
    container_lab: ContainerLab,
) -> None:
    container = {"env": _env(AZURE_CLIENT_SECRET="top-s3cret")}
    await container_lab.pod(container, _is_running)
    kubectl = [
        "-n",
        container_lab.namespace,
        "--kubeconfig",
        str(container_lab.podpass.data_dir / "kubeconfig"),
    ]
    for form in ("table", "json", "yaml"):
        done = container_lab.podpass("doctor", "pod/web", *kubectl, "-o", form)
        assert done.returncode == 1, done.stderr
        assert "secret-first" in done.stdout
        assert "top-s3cret" not in done.stdout + done.stderr
        assert "eyJ" not in done.stdout + done.stderr  # the beginning of every JWT
    healthy = container_lab.podpass("doctor", "serviceaccount/default", *kubectl)
    assert healthy.returncode == 1
    missing = container_lab.podpass("doctor", "absent", *kubectl)
    assert missing.returncode == 1
    assert "kubectl get pods,deployments,serviceaccounts" in missing.stderr


async def test_one_pod_takes_under_two_seconds_without_load(container_lab: ContainerLab) -> None:
    """The bound is wide, because the machine of the tests may be busy; the figure is in the guide."""
    await container_lab.pod({}, _is_running)
    begin = time.monotonic()
    assert (await container_lab.diagnose()).findings == []
    assert time.monotonic() - begin < 20
