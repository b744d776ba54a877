"""What an instance answers about itself: where it is, what it holds, what was changed. It applies seeds."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from podpass import names
from podpass.clock import Clock
from podpass.local import listing
from podpass.local.datadir import DataDir, Facts
from podpass.settings import LocalSettings

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory
    from podpass.resource.store import SecretStore


_PAGE = 200


class Answers:
    """A running instance, as its control API sees it."""

    def __init__(
        self,
        data_dir: DataDir,
        facts: Facts,
        directory: "Directory",
        secret_store: "SecretStore",
        *,
        settings: LocalSettings,
        pids: Callable[[], Mapping[str, int]],
        sandbox: str,
        clock: Clock,
    ) -> None:
        self._data_dir = data_dir
        self._facts = facts
        self._directory = directory
        self._secret_store = secret_store
        self._settings, self._pids = settings, pids
        self._sandbox = sandbox
        self._clock = clock

    def status(self) -> dict[str, Any]:
        """Say where everything is, as `podpass status -o json` prints it."""
        return {
            "ready": True,
            "data_dir": str(self._data_dir.root),
            "kubernetes": {
                "server": self._facts.url("kubernetes"),
                "kubeconfig": str(self._data_dir.kubeconfig),
                "issuer": self._facts.issuer,
                "kind": self._settings.kubernetes,
                "webhook": self._facts.url("webhook") + names.WEBHOOK_PATH,
            },
            "gateway": self._facts.gateway,
            "authority": self._facts.direct("authority"),
            "resource_manager": self._facts.direct("azure"),
            "graph": self._facts.direct("azure"),
            "vault": self._facts.direct("vault"),
            "control": self._facts.direct("control"),
            "console": None,
            "ca_file": str(self._data_dir.ca_file),
            "tenant_id": self._facts.tenant_id,
            "subscription_id": self._facts.subscription_id,
            "admin": {
                "username": self._facts.admin_username,
                "password": self._facts.admin_password.reveal(),
            },
            "sandbox": self._sandbox,
            "settings": self._settings.told(),
            "pids": dict(self._pids()),
        }

    async def apply(self, text: str, filename: str) -> list[str]:
        """Apply a seed and say what it changed."""
        from podpass.directory.model import Change
        from podpass.seed.apply import apply_seed, parse_seed

        applied = await apply_seed(
            parse_seed(text, filename),
            self._directory,
            self._secret_store,
            issuer=self._facts.issuer,
            tenant_id=self._facts.tenant_id,
            subscription_id=self._facts.subscription_id,
            clock=self._clock,
        )
        return [str(each) for each in applied if each.change is not Change.UNCHANGED]

    async def identities(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """List one page of the identities: everything else of the instance waits while it is read.

        Shapes:  `asked` may hold `after`, which is that of the page before; the last page has none. What
                 could not be read is in `damaged`, a row each.
        """
        from podpass.database import hearing

        tenant_id, after = self._facts.tenant_id, asked.get("after")
        with hearing() as damaged:
            found = await self._directory.identities.page(tenant_id, after=after, limit=_PAGE)
        return {
            "value": [listing.identity(identity) for identity in found],
            "after": found[-1].client_id if len(found) == _PAGE else None,
            "damaged": listing.damaged(damaged),
        }

    async def audit(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """List changes; what could not be read is in `damaged`, a row each."""
        from podpass.database import hearing
        from podpass.local import audit

        with hearing() as damaged:
            found = await audit.read(self._directory, asked, self._clock)
        return {"value": found, "damaged": listing.damaged(damaged)}

    async def vaults(self) -> dict[str, Any]:
        """List the vaults; what could not be read is in `damaged`, a row each."""
        from podpass.database import hearing
        from podpass.resource.model import shelf_of

        with hearing() as damaged:
            found = await self._directory.list_vaults(self._facts.tenant_id)
        held = await self._secret_store.counts()
        return {
            "value": [listing.vault(vault, held.get(shelf_of(vault), 0)) for vault in found],
            "damaged": listing.damaged(damaged),
        }
