"""An installation on a real API server by an account with the listed rights only."""

import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from podpass.clock import system
from podpass.crypto.secret import Secret
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import Target
from podpass.lab.gateway.gateway import SERVED_NAMES
from podpass.lab.install import apply, cluster_dns, identity_webhook, namespaces
from podpass.lab.install.apply import ObjectChange
from podpass.lab.install.installer import Installer, InstallRequest
from podpass.lab.install.objects import CloudValues, Object, build_objects
from podpass.lab.install.rights import MissingRights, Right, list_rights
from tests.control_plane import plane
from tests.lab.install.test_cluster_dns import KUBEADM, create, read

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

VALUES = CloudValues(image="podpass:1", all_namespaces=True)
TENANT = "11111111-2222-4333-8444-555555555555"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
RIGHTS = list_rights(
    VALUES.namespace, [*build_objects(VALUES), *identity_webhook.build_own_webhook(VALUES, TENANT)]
)
# One right of each kind: of an object, of a role that is created, and of the DNS.
MISSING = {
    "secrets": Right(verb="create", resource="secrets", namespace="podpass-cloud"),
    "events": Right(verb="create", resource="events"),
    "dns": Right(verb="update", resource="configmaps", namespace="kube-system"),
}


@dataclass(frozen=True, slots=True)
class Accounts:
    """An administrator, and clients of accounts with chosen rights."""

    admin: KubeClient
    control_plane: plane.PlaneThread

    async def create(self, name: str, rights: Sequence[Right]) -> KubeClient:
        """Create a ServiceAccount with these rights, each in its namespace; return a client of it."""
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await self.admin.create(accounts, {"metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
        for namespace in {each.namespace for each in rights}:
            rules = [
                {"verbs": [each.verb], "apiGroups": [each.group], "resources": [each.resource]}
                for each in rights
                if each.namespace == namespace
            ]
            await self._grant(f"{name}-{namespace or 'all'}", namespace, rules, subject)
        token = await self.admin.create(
            f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 3600}}
        )
        tls = ssl.create_default_context(cafile=self.control_plane.ca_file)
        secret = Secret(token["status"]["token"])
        return KubeClient(Target(server=self.control_plane.server, tls=tls, token=secret))

    async def _grant(
        self, name: str, namespace: str, rules: list[dict[str, list[str]]], subject: dict[str, str]
    ) -> None:
        """A ClusterRole that is bound in one namespace gives its rights there, before it exists too."""
        await self.admin.create(
            f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules}
        )
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        body = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
        if not namespace:
            await self.admin.create(f"{RBAC}/clusterrolebindings", body)
            return
        present, _ = await self.admin.list("/api/v1/namespaces")
        if namespace not in {each["metadata"]["name"] for each in present}:
            await self.admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        await self.admin.create(f"{RBAC}/namespaces/{namespace}/rolebindings", body)


@pytest.fixture
async def accounts(control_plane: plane.PlaneThread) -> AsyncIterator[Accounts]:
    async with control_plane.admin() as admin:
        if await read(admin, "coredns") is None:
            await create(admin, "coredns", {"Corefile": KUBEADM})
        yield Accounts(admin, control_plane)


def _installer(client: KubeClient) -> Installer:
    return Installer(client=client, report=print, progress=print, timeout=120, clock=system)


async def read_hook(admin: KubeClient, own: list[Object]) -> Object:
    """Return the entry of the registration of podpass's webhook."""
    registration = await apply.read(admin, own[-1])
    assert registration is not None
    [hook] = registration["webhooks"]
    found: Object = hook
    return found


async def test_account_with_the_listed_rights_installs_and_removes(accounts: Accounts) -> None:
    before = await read(accounts.admin, "coredns")
    async with await accounts.create("exact", RIGHTS) as client:
        made = _installer(client)
        request = InstallRequest(values=VALUES, context="kind-kind")
        checked = await made.check(request, "podpass:1")
        await made.apply(checked)
        own = identity_webhook.build_own_webhook(checked.values, TENANT)
        await identity_webhook.start_own(client, own, system())
        new = await read_hook(accounts.admin, own)
        await identity_webhook.complete_own(client, own)
        complete = await read_hook(accounts.admin, own)
        assert (new["failurePolicy"], complete["failurePolicy"]) == ("Ignore", "Fail")
        assert complete["clientConfig"] == new["clientConfig"]
        assert complete["clientConfig"]["caBundle"]
        again = await identity_webhook.start_own(client, own, system())
        again += await identity_webhook.complete_own(client, own)
        assert [(name, change) for name, change in again if change != ObjectChange.UNCHANGED] == []
        assert await namespaces.enable(client, ["default"]) == ["default"]
        assert await cluster_dns.add(client, VALUES.namespace, "127.96.1.2", SERVED_NAMES)
        assert await read(accounts.admin, "coredns") != before
        await made.uninstall(VALUES.namespace)
    assert await read(accounts.admin, "coredns") == before
    await _expect_no_objects(accounts.admin)


@pytest.mark.parametrize("name", MISSING)
async def test_missing_right_is_named_before_the_first_change(
    accounts: Accounts, name: str
) -> None:
    missing = MISSING[name]
    rights = [each for each in RIGHTS if each != missing]
    assert len(rights) == len(RIGHTS) - 1
    async with await accounts.create(f"without-{name}", rights) as client:
        request = InstallRequest(values=VALUES, context="kind-kind")
        with pytest.raises(MissingRights) as caught:
            await _installer(client).check(request, "podpass:1")
    where = f"in namespace {missing.namespace}" if missing.namespace else "in the whole cluster"
    expected = f"your account lacks these rights:\n    {where}, {missing.verb}: {missing.resource}"
    assert caught.value.message == expected
    await _expect_no_objects(accounts.admin)


async def _expect_no_objects(admin: KubeClient) -> None:
    objects = [*build_objects(VALUES), *identity_webhook.build_own_webhook(VALUES, TENANT)]
    found = [await apply.read(admin, each) for each in objects if each["kind"] != "Namespace"]
    assert [apply.describe(each) for each in found if each is not None] == []
