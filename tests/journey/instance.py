"""An instance started by the command line, with operations of a cluster user."""

import contextlib
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes import client, config

from podpass.crypto import jose
from tests.lab.instance import preloaded

CLIENT = "11111111-aaaa-4bbb-8ccc-000000000001"
SECOND_CLIENT = "11111111-aaaa-4bbb-8ccc-000000000002"
NO_ROLE_CLIENT = "11111111-aaaa-4bbb-8ccc-000000000003"
AUDIENCE = "api://AzureADTokenExchange"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
LABEL = {"azure.workload.identity/use": "true"}

SEED = f"""
identities:
  - name: web
    client_id: {CLIENT}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
      - {{name: batch, issuer: cluster, subject: "system:serviceaccount:default:batch"}}
      - {{name: gone, issuer: "https://issuer.invalid/", subject: "system:serviceaccount:default:gone"}}
  - name: second
    kind: application
    client_id: {SECOND_CLIENT}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
  - name: no-role
    client_id: {NO_ROLE_CLIENT}
    federated_credentials:
      - {{name: web, issuer: cluster, subject: "system:serviceaccount:default:web"}}
vaults:
  - name: journey-vault
    secrets: {{greeting: hello}}
    access:
      - {{identity: web, role: Key Vault Secrets User}}
  - name: second-vault
    secrets: {{greeting: hello from the second}}
    access:
      - {{identity: second, role: Key Vault Secrets User}}
"""

READ = """
import sys
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
vault, *clients = sys.argv[1:]
for pair in clients or ["="]:
    where, _, who = pair.partition("=")
    credential = WorkloadIdentityCredential(client_id=who) if who else WorkloadIdentityCredential()
    url = f"https://{where or vault}.vault.azure.net"
    print(SecretClient(url, credential).get_secret("greeting").value)
"""


@dataclass
class Instance:
    """A running instance: its addresses, and operations of a cluster user in a namespace."""

    data_dir: Path
    status: dict[str, Any] = field(default_factory=dict)
    namespace: str = "default"

    def podpass(
        self, *arguments: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PODPASS_DATA_DIR": str(self.data_dir), **(env or {})}
        done = preloaded.run(arguments, environ)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def up(self, *arguments: str) -> None:
        self.podpass("up", "--detach", "--port-base", "0", *arguments)
        self.status = json.loads(self.podpass("status", "-o", "json").stdout)

    @property
    def kubernetes(self) -> Any:
        """Return an API client of the official library; it accepts plain objects too."""
        connect: Any = config.new_client_from_config
        return connect(self.status["kubernetes"]["kubeconfig"])

    @property
    def core(self) -> Any:
        return client.CoreV1Api(self.kubernetes)

    def account(self, name: str, annotations: dict[str, str] | None = None, **labels: str) -> None:
        meta = {"name": name, "annotations": annotations or {}, "labels": labels}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        try:
            self.core.create_namespaced_service_account(self.namespace, body)
        except client.ApiException as exc:
            assert exc.status == 409
            self.core.replace_namespaced_service_account(name, self.namespace, body)

    def token(self, account: str, audience: str = AUDIENCE) -> str:
        body = {"spec": {"audiences": [audience]}}
        answer = self.core.create_namespaced_service_account_token(account, self.namespace, body)
        return str(answer.status.token)

    def run_pod(
        self, name: str, account: str, *arguments: str, labels: dict[str, str] | None = None
    ) -> tuple[str, str]:
        """Run the program that reads a secret as a pod; return the final phase and the log."""
        command = ["python", "-c", READ, *(arguments or ("journey-vault",))]
        return self.run_command(name, account, command, labels=labels)

    def run_command(
        self,
        name: str,
        account: str,
        command: list[str],
        labels: dict[str, str] | None = None,
        **more: Any,
    ) -> tuple[str, str]:
        """Run a command as a pod; return the final phase and the log."""
        self.create_pod(name, account, command, labels=labels, **more)
        return self.wait_for_end(name)

    def create_pod(
        self,
        name: str,
        account: str,
        command: list[str],
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """Create a pod with one container, `app`, that is not started again."""
        variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
        container = {"name": "app", "image": "none", "command": command, "env": variables}
        spec: dict[str, Any] = {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "containers": [container],
        }
        spec |= more
        chosen = LABEL if labels is None else labels
        meta = {"name": name, "labels": chosen, "annotations": annotations or {}}
        self.core.create_namespaced_pod(
            self.namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        )

    def wait_for_end(self, name: str, seconds: float = 60) -> tuple[str, str]:
        """Wait until a pod has ended; return its phase and the log of its container `app`."""
        core = self.core
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            phase = core.read_namespaced_pod(name, self.namespace).status.phase
            if phase in ("Succeeded", "Failed"):
                return phase, self.pod_log(name)
            time.sleep(0.1)
        raise AssertionError("the pod did not end")

    def pod_log(self, name: str, container: str = "app") -> str:
        return str(self.core.read_namespaced_pod_log(name, self.namespace, container=container))

    def wait_for_log(self, name: str, text: str) -> None:
        """Wait until a text is in the log of a pod."""
        deadline = time.monotonic() + 60
        found = ""
        while time.monotonic() < deadline:
            with contextlib.suppress(client.ApiException):
                found = self.pod_log(name)
            if text in found:
                return
            time.sleep(0.1)
        raise AssertionError(f"{name} did not log {text!r}: {found}")

    def run_on_host(self, account: str, command: list[str]) -> str:
        """Run a command with `podpass run --as ACCOUNT`; return its stdout."""
        return self.podpass("run", "--as", account, "--", *command).stdout

    def log_lines(self, correlation_id: str) -> list[dict[str, Any]]:
        """Read the log records of a request; the last one is written just after the response."""
        for _ in range(100):
            text = (self.data_dir / "podpass.log").read_text()
            lines = [json.loads(line) for line in text.splitlines() if correlation_id in line]
            found = [line for line in lines if line.get("correlation_id") == correlation_id]
            if any("outcome" in line for line in found):
                return found
            time.sleep(0.02)
        raise AssertionError(f"the log contains no outcome of {correlation_id}: {found}")

    def issuer_key(self) -> jose.SigningKey:
        """Read the signing key of the issuer, to create invalid assertions."""
        files = sorted((self.data_dir / "keys" / "issuer").glob("*.pem"))
        key = jose.load_private_pem(files[-1].read_bytes())
        return jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)

    async def exchange(
        self, assertion: str, *, correlation_id: str, tenant: str = "", **form: str
    ) -> tuple[int, dict[str, Any]]:
        context = ssl.create_default_context(cafile=self.status["ca_file"])
        body = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "scope": "https://vault.azure.net/.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
            **form,
        }
        url = f"{self.status['authority'].rstrip('/')}/{tenant or self.status['tenant_id']}/oauth2/v2.0/token"
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                url, data=body, ssl=context, headers={"client-request-id": correlation_id}
            ) as answer,
        ):
            return answer.status, await answer.json()

    async def admin_token(self, session: aiohttp.ClientSession) -> str:
        """Sign in to Resource Manager as the administrator; the session trusts the instance's CA."""
        form = {
            "grant_type": "password",
            "client_id": AZURE_CLI,
            "scope": "https://management.core.windows.net//.default",
            **self.status["admin"],
        }
        url = f"{self.status['authority']}/{self.status['tenant_id']}/oauth2/v2.0/token"
        async with session.post(url, data=form) as answer:
            return str((await answer.json())["access_token"])


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[Instance]:
    """Run an instance with the seed and an annotated ServiceAccount; `arguments` are for `up`."""
    seed = folder / "seed.yaml"
    seed.write_text(SEED)
    running = Instance(folder / "data")
    running.up("--seed", str(seed), *arguments)
    running.account("web", {"azure.workload.identity/client-id": CLIENT})
    try:
        yield running
    finally:
        running.podpass("down")
