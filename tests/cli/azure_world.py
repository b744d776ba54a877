"""An instance as seen through the clients of `podpass.provision`, for tests of the commands above them."""

import asyncio
import contextlib
import io
import json
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from podpass.cli.account_options import AccountOptions
from podpass.cli.azure_account import sign_in
from podpass.cli.main import run
from podpass.http.client import HttpResponse
from podpass.kubernetes.client import KubeClient
from podpass.provision.account import AzureAccount
from podpass.provision.api_client import ApiClient
from podpass.provision.service_accounts import ServiceAccountClient
from podpass.provision.sign_in import TokenSource
from podpass.provision.steps import Clients
from tests.lab.instance.instances import Podpass

Result = TypeVar("Result")
AUDIENCE = "api://AzureADTokenExchange"


def ignore(_: object) -> None:
    """Report nothing."""


@dataclass(kw_only=True)
class AzureWorld:
    """An instance, its command line, and what exists in its directory and cluster."""

    podpass: Podpass
    status: dict[str, Any]
    # One sign-in for all calls: the check of a password is slow by design.
    tokens: TokenSource | None = None

    @classmethod
    def of(cls, podpass: Podpass) -> "AzureWorld":
        """Return the world of a running instance."""
        return cls(podpass=podpass, status=podpass.status())

    @property
    def issuer(self) -> str:
        return str(self.status["kubernetes"]["issuer"])

    @property
    def scope(self) -> str:
        return f"/subscriptions/{self.status['subscription_id']}"

    @property
    def kubeconfig(self) -> str:
        return str(self.status["kubernetes"]["kubeconfig"])

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `podpass serviceaccount` as the administrator of the instance, in this process."""
        given = () if "--data-dir" in words else ("--data-dir", str(self.podpass.data_dir))
        return run_here("serviceaccount", *words, "--auth-method", "instance", *given)

    def succeed(self, *words: str) -> dict[str, Any]:
        """Run a command that must succeed; return its JSON."""
        done = self.run(*words, "-o", "json")
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def environ(self) -> dict[str, str]:
        """Return the environment of `podpass env`."""
        values: dict[str, str] = json.loads(self.podpass("env", "-o", "json").stdout)
        return values

    def call(self, work: Callable[[AzureAccount], Awaitable[Result]]) -> Result:
        """Run a coroutine with the administrator's account."""

        async def sign_in_and_work() -> Result:
            return await work(await self.account())

        return asyncio.run(sign_in_and_work())

    async def account(self, report: Callable[[str], None] = ignore) -> AzureAccount:
        chosen = AccountOptions(auth_method="instance", data_dir=str(self.podpass.data_dir))
        account = await sign_in(chosen, {}, report)
        self.tokens = account.tokens = self.tokens or account.tokens
        return account

    def applications(self, name: str) -> list[dict[str, Any]]:
        return self.graph("/v1.0/applications", {"$filter": f"displayName eq '{name}'"})

    def graph(self, path: str, params: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return a collection of Graph."""
        return self.call(lambda account: graph_api(account).list(path, params))

    def trusts(self, application: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.graph(f"/v1.0/applications/{application['id']}/federatedIdentityCredentials")

    def managed_trusts(self, group: str, name: str) -> list[Any]:
        return list(self.call(lambda account: account.manager().list_credentials(group, name)))

    def service_account(self, name: str) -> dict[str, Any] | None:
        async def read() -> dict[str, Any] | None:
            async with KubeClient.from_kubeconfig(Path(self.kubeconfig)) as client:
                items, _ = await client.list("/api/v1/namespaces/default/serviceaccounts")
            return next((each for each in items if each["metadata"]["name"] == name), None)

        return asyncio.run(read())

    def put_service_account(self, body: dict[str, Any]) -> None:
        async def write() -> None:
            async with KubeClient.from_kubeconfig(Path(self.kubeconfig)) as client:
                await client.create("/api/v1/namespaces/default/serviceaccounts", body)

        asyncio.run(write())

    def create_group(self, name: str) -> None:
        path, params = f"{self.scope}/resourcegroups/{name}", {"api-version": "2021-04-01"}
        self.call(
            lambda account: account.manager_api().send("PUT", path, {"location": "eastus"}, params)
        )

    def assignments(self, principal_id: str) -> list[dict[str, Any]]:
        path = f"{self.scope}/providers/Microsoft.Authorization/roleAssignments"
        params = {"api-version": "2022-04-01", "$filter": f"principalId eq '{principal_id}'"}
        return self.call(lambda account: account.manager_api().list(path, params))

    def exchange(self, service_account: str) -> HttpResponse:
        """Exchange a token of a ServiceAccount for one of the vault, by its annotations."""
        found = self.service_account(service_account)
        assert found is not None
        annotations = found["metadata"]["annotations"]

        async def work(account: AzureAccount) -> HttpResponse:
            path = f"/api/v1/namespaces/default/serviceaccounts/{service_account}/token"
            async with KubeClient.from_kubeconfig(Path(self.kubeconfig)) as client:
                made = await client.create(path, {"spec": {"audiences": [AUDIENCE]}})
            form = {
                "grant_type": "client_credentials",
                "client_id": annotations["azure.workload.identity/client-id"],
                "scope": "https://vault.azure.net/.default",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": made["status"]["token"],
            }
            tenant = annotations["azure.workload.identity/tenant-id"]
            url = f"{account.endpoints.login}/{tenant}/oauth2/v2.0/token"
            headers = {"content-type": "application/x-www-form-urlencoded"}
            return await account.connection.send(
                "POST", url, headers=headers, body=urlencode(form).encode()
            )

        return self.call(work)


def run_here(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line in this process, which takes a tenth of the time of a new one."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = run(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), error.getvalue())


def graph_api(account: AzureAccount) -> ApiClient:
    """Return a client for any request to Graph."""
    return ApiClient(
        "Microsoft Graph",
        origin=account.endpoints.graph,
        resource=account.endpoints.graph,
        tokens=account.tokens,
        connection=account.connection,
    )


def clients_of(account: AzureAccount, client: KubeClient) -> Clients:
    """Return the clients of a workflow."""
    return Clients(
        graph=account.graph(), manager=account.manager(), accounts=ServiceAccountClient(client)
    )
