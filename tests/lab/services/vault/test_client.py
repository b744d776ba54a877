"""The released Key Vault SDK as the client, with its verification of the challenge enabled."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets import SecretClient

from podpass.directory.model import AccessPolicy
from podpass.lab.services.vault.model import VaultAccess
from tests.tunnel import connect_proxy

VAULT_URL = "https://demo-vault.vault.azure.net/"


class MintingCredential:
    """A credential that creates the requested tokens, and records the requests."""

    def __init__(self, mint: Callable[..., str], audience: str | None = None) -> None:
        self._mint = mint
        self._audience = audience
        self.asked: list[tuple[str, str | None]] = []

    def get_token(self, *scopes: str, tenant_id: str | None = None, **_: Any) -> AccessToken:
        self.asked.append((scopes[0], tenant_id))
        audience = self._audience or scopes[0].removesuffix("/.default")
        return AccessToken(self._mint(aud=audience), int(time.time()) + 3600)


async def run_client(
    world: Any,
    who: Any,
    work: Callable[[Any], Any],
    url: str = VAULT_URL,
    kind: Callable[..., Any] = SecretClient,
) -> Any:
    """Run synchronous client code in a thread, because the servers run in this event loop."""
    credential = MintingCredential(lambda **changes: world.authority.mint(who, **changes))

    def run() -> Any:
        with kind(
            url,
            credential,
            proxies={"https": proxy},
            connection_verify=str(world.ca_file),
            retry_total=0,
        ) as client:
            return work(client), credential.asked

    async with connect_proxy(world.port) as proxy:
        return await asyncio.to_thread(run)


async def test_released_client_sets_gets_lists_and_deletes(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")

    def work(client: SecretClient) -> None:
        first = client.set_secret("greeting", "hello", tags={"a": "b"}, content_type="text/plain")
        second = client.set_secret("greeting", "hello again")
        read = client.get_secret("greeting")
        assert (read.value, read.properties.version) == ("hello again", second.properties.version)
        old = client.get_secret("greeting", first.properties.version)
        assert (old.value, old.properties.tags) == ("hello", {"a": "b"})
        assert old.properties.content_type == "text/plain"
        assert old.id == f"{VAULT_URL}secrets/greeting/{first.properties.version}"
        assert [each.name for each in client.list_properties_of_secrets()] == ["greeting"]
        versions = list(client.list_properties_of_secret_versions("greeting"))
        assert {each.version for each in versions} == {
            first.properties.version,
            second.properties.version,
        }
        assert list(client.list_properties_of_secret_versions("never-set")) == []
        deleted = client.begin_delete_secret("greeting", _polling_interval=0.01)
        deleted.wait()
        assert deleted.result().recovery_id == f"{VAULT_URL}deletedsecrets/greeting"
        with pytest.raises(ResourceNotFoundError) as caught:
            client.get_secret("greeting")
        assert caught.value.error is not None
        assert caught.value.error.code == "SecretNotFound"

    _, asked = await run_client(world, officer, work)
    tenant = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
    assert asked == [("https://vault.azure.net/.default", tenant)]


async def test_deleted_secret_is_recovered_or_purged(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")

    def work(client: SecretClient) -> None:
        client.set_secret("greeting", "hello")
        client.begin_delete_secret("greeting", _polling_interval=0.01).wait()
        with pytest.raises(HttpResponseError) as caught:
            client.set_secret("greeting", "other")
        assert caught.value.status_code == 409
        client.begin_recover_deleted_secret("greeting", _polling_interval=0.01).wait()
        assert client.get_secret("greeting").value == "hello"
        client.begin_delete_secret("greeting", _polling_interval=0.01).wait()
        client.purge_deleted_secret("greeting")
        assert client.set_secret("greeting", "other").value == "other"

    await run_client(world, officer, work)


async def test_attributes_are_updated_and_disabled_secret_is_refused(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")

    def work(client: SecretClient) -> None:
        client.set_secret("greeting", "hello", tags={"kept": "yes"})
        changed = client.update_secret_properties("greeting", enabled=False)
        assert (changed.enabled, changed.tags) == (False, {"kept": "yes"})
        with pytest.raises(HttpResponseError) as caught:
            client.get_secret("greeting")
        assert caught.value.status_code == 403
        client.update_secret_properties("greeting", enabled=True)
        assert client.get_secret("greeting").value == "hello"

    await run_client(world, officer, work)


async def test_released_client_lists_several_pages(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")

    def work(client: SecretClient) -> None:
        names = [f"secret-{number:02}" for number in range(7)]
        for name in names:
            client.set_secret(name, "x")
            client.set_secret(name, "y")
        pages = list(client.list_properties_of_secrets(max_page_size=3).by_page())
        assert [[each.name for each in page] for page in pages] == [
            names[:3],
            names[3:6],
            names[6:],
        ]
        for _ in range(4):
            client.set_secret("secret-00", "z")
        versions = client.list_properties_of_secret_versions("secret-00", max_page_size=4)
        assert len({each.version for each in versions}) == 6

    await run_client(world, officer, work)


async def test_released_client_gets_missing_role_in_error(world: Any) -> None:
    other = await world.identity("other", None)

    def work(client: SecretClient) -> None:
        with pytest.raises(HttpResponseError) as caught:
            client.get_secret("greeting")
        assert caught.value.status_code == 403
        assert caught.value.error is not None
        assert caught.value.error.code == "Forbidden"
        assert "'Key Vault Secrets User' on vault demo-vault for other" in str(caught.value)

    await run_client(world, other, work)


async def test_direct_mode_passes_challenge_verification_of_client(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")
    url = f"https://demo-vault.vault.localhost:{world.port}"

    def work(client: SecretClient) -> None:
        made = client.set_secret("greeting", "hello")
        assert str(made.id).startswith(f"{url}/secrets/greeting/")
        assert client.get_secret("greeting").value == "hello"

    _, asked = await run_client(world, officer, work, url)
    assert asked[0][0] == f"https://vault.localhost:{world.port}/.default"


async def test_deleted_secrets_are_listed_shown_and_purged(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")

    def work(client: SecretClient) -> None:
        for name in ("a", "b", "c"):
            client.set_secret(name, "x")
            client.begin_delete_secret(name, _polling_interval=0.01).wait()
        pages = client.list_deleted_secrets(max_page_size=2).by_page()
        assert [[each.name for each in page] for page in pages] == [["a", "b"], ["c"]]
        gone = client.get_deleted_secret("a")
        assert gone.scheduled_purge_date is not None
        assert gone.deleted_date is not None
        assert (gone.scheduled_purge_date - gone.deleted_date).days == 90
        assert gone.properties.recovery_level == "Recoverable+Purgeable"
        client.purge_deleted_secret("a")
        with pytest.raises(ResourceNotFoundError):
            client.get_deleted_secret("a")

    await run_client(world, officer, work)


async def test_backup_is_restored_by_the_released_client(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")

    def work(client: SecretClient) -> None:
        client.set_secret("greeting", "hello")
        last = client.set_secret("greeting", "a-value-to-look-for", tags={"a": "b"})
        blob = client.backup_secret("greeting")
        assert b"a-value-to-look-for" not in blob
        with pytest.raises(ResourceExistsError) as caught:
            client.restore_secret_backup(blob)
        assert caught.value.status_code == 409
        client.begin_delete_secret("greeting", _polling_interval=0.01).wait()
        client.purge_deleted_secret("greeting")
        back = client.restore_secret_backup(blob)
        assert (back.version, back.tags) == (last.properties.version, {"a": "b"})
        assert client.get_secret("greeting").value == "a-value-to-look-for"
        assert len(list(client.list_properties_of_secret_versions("greeting"))) == 2
        with pytest.raises(HttpResponseError) as refused:
            client.restore_secret_backup(blob[:-1] + bytes([blob[-1] ^ 1]))
        assert refused.value.status_code == 400

    await run_client(world, officer, work)


async def test_released_client_gets_purge_protection_error(world: Any) -> None:
    officer = await world.identity("officer", "Key Vault Secrets Officer")
    await world.vault("demo-vault", purge_protection=True, retention_days=7)

    def work(client: SecretClient) -> None:
        made = client.set_secret("greeting", "hello")
        assert made.properties.recovery_level == "CustomizedRecoverable"
        assert made.properties.recoverable_days == 7
        client.begin_delete_secret("greeting", _polling_interval=0.01).wait()
        with pytest.raises(HttpResponseError) as caught:
            client.purge_deleted_secret("greeting")
        assert caught.value.status_code == 403

    await run_client(world, officer, work)


async def test_released_client_gets_missing_permission_in_error(world: Any) -> None:
    who = await world.identity("who", None)
    given = AccessPolicy(object_id=who.object_id, tenant_id=who.tenant_id, secrets=("set",))
    await world.vault("demo-vault", access=VaultAccess.POLICIES, policies=(given,))

    def work(client: SecretClient) -> None:
        client.set_secret("greeting", "hello")
        with pytest.raises(HttpResponseError) as caught:
            client.get_secret("greeting")
        assert caught.value.error is not None
        assert caught.value.error.code == "Forbidden"
        assert caught.value.error.innererror == {"code": "ForbiddenByPolicy"}

    await run_client(world, who, work)
