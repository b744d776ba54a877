"""Queries of the control API: status, identities, vaults and audit log; and the application of seeds."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from podpass import files, names
from podpass.clock import Clock
from podpass.directory.rules import MAX_CREDENTIALS
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.instance.start import Progress, SeedFile
from podpass.lab.issuers.registry import ISSUERS, IssuerRegistry

if TYPE_CHECKING:
    from podpass.database import CorruptRowError
    from podpass.directory.model import Identity
    from podpass.directory.store.directory import Directory
    from podpass.lab.cluster.pod_access import PodAccess
    from podpass.lab.instance.cloud_parts import CloudHalf
    from podpass.lab.instance.context import InstanceContext


_PAGE = 200
# Identity, vault and namespace of `podpass cloud demo` have a name with this prefix.
DEMO_PREFIX = "podpass-demo-"


class CloudQueries:
    """Handles the requests of the control API.

    `issuer` replaces `issuer: cluster` in a seed; a seed that needs it is rejected without one. With
    `stable_ids`, a seed gives the same client IDs in an empty directory of the same tenant. `listens` maps
    what is served to other hosts to its address.
    """

    def __init__(
        self,
        data_dir: DataDir,
        config: InstanceConfig,
        directory: "Directory",
        data: Mapping[str, Any],
        *,
        issuer: str | None,
        clock: Clock,
        stable_ids: bool = False,
        listens: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._data_dir = data_dir
        self._config = config
        self._directory = directory
        self._data = data
        self._issuer = issuer
        self._clock = clock
        self._stable_ids = stable_ids
        self._listens = listens

    def with_stores(self, directory: "Directory", data: Mapping[str, Any]) -> "CloudQueries":
        """Return the same queries on other stores."""
        return CloudQueries(
            self._data_dir,
            self._config,
            directory,
            data,
            issuer=self._issuer,
            clock=self._clock,
            stable_ids=self._stable_ids,
        )

    def status(self) -> dict[str, Any]:
        """Return the status document of `podpass status -o json`; there is no cluster half."""
        return {
            "ready": True,
            "data_dir": str(self._data_dir.root),
            "kubernetes": {"issuer": self._issuer, "kind": "external"},
            **self.cloud_status(),
            "listens": dict(self._listens),
            "console": None,
            "pids": {"podpass": os.getpid()},
        }

    def write_status(self) -> dict[str, Any]:
        """Write the status file, which commands read without a request; return its document."""
        status = self.status()
        text = json.dumps(status, indent=2) + "\n"
        files.write_private(self._data_dir.status_file, text.encode())
        return status

    def cloud_status(self) -> dict[str, Any]:
        """Return the part of the status document that describes the cloud half."""
        registry: IssuerRegistry | None = self._data.get(ISSUERS)
        return {
            "damaged": [],  # the control API adds the database files that cannot be used
            "gateway": self._config.gateway,
            "authority": self._config.direct_origin("authority"),
            "resource_manager": self._config.direct_origin("azure"),
            "graph": self._config.direct_origin("azure"),
            "vault": self._config.direct_origin("vault"),
            "control": self._config.direct_origin("control"),
            "ca_file": str(self._data_dir.ca_file),
            "log": str(self._data_dir.log_file),
            "tenant_id": self._config.tenant_id,
            "subscription_id": self._config.subscription_id,
            "issuers": list(registry.issuers) if registry else [],
            "pipelines": sorted(registry.platforms) if registry else [],
            "admin": {
                "username": self._config.admin_username,
                "password": self._config.admin_password.reveal(),
            },
        }

    async def apply(self, text: str, filename: str) -> list[str]:
        """Apply a seed and return the changes."""
        from podpass.directory.model import WriteResult
        from podpass.lab import services
        from podpass.seed.apply import apply_seed

        applied = await apply_seed(
            services.parse_seed(text, filename),
            self._directory,
            self._data,
            issuer=self._issuer,
            tenant_id=self._config.tenant_id,
            subscription_id=self._config.subscription_id,
            clock=self._clock,
            stable_ids=self._stable_ids,
        )
        return [str(each) for each in applied if each.change is not WriteResult.UNCHANGED]

    async def apply_at_start(self, seed: SeedFile | None, progress: Progress) -> None:
        """Apply the text of a seed and the name of its file, if there is one, and report it."""
        if seed is not None:
            progress("seed", "")
            changed = await self.apply(*seed)
            progress("seed", f"{len(changed)} changes from {seed[1]}")

    async def remove_demo(self, name: str) -> list[str]:
        """Remove the identity of a demo; return what was removed.

        Raises UsageError for a name that is not that of a demo.
        """
        if not name.startswith(DEMO_PREFIX):
            raise UsageError(f"{name!r} is not a demo", hint=f"its name begins with {DEMO_PREFIX}")
        removed = []
        tenant_id = self._config.tenant_id
        for identity in await self._directory.identities.list(tenant_id, name):
            await self._directory.identities.delete(tenant_id, identity.client_id)
            removed.append(f"identity {name}")
        return removed

    async def identities(self, query: Mapping[str, str]) -> dict[str, Any]:
        """List one page of the identities.

        `query` may contain `after` of the previous page; the last page has no `after`. `damaged` contains a
        message and a hint for each row that cannot be read.
        """
        from podpass.database import collecting_errors

        tenant_id, after = self._config.tenant_id, query.get("after")
        with collecting_errors() as damaged:
            found = await self._directory.identities.page(tenant_id, after=after, limit=_PAGE)
        return {
            "value": [identity_row(identity) for identity in found],
            "after": found[-1].client_id if len(found) == _PAGE else None,
            "damaged": skipped_rows(damaged),
        }

    async def audit(self, filters: Mapping[str, str]) -> dict[str, Any]:
        """List changes; `damaged` contains a message and a hint for each row that cannot be read."""
        from podpass.database import collecting_errors
        from podpass.lab.instance import audit

        with collecting_errors() as damaged:
            found = await audit.list_changes(
                self._directory, filters, self._clock, self._config.tenant_id
            )
        return {"value": found, "damaged": skipped_rows(damaged)}


class InstanceQueries(CloudQueries):
    """The same for a local instance, whose status has a cluster half."""

    def __init__(
        self,
        context: "InstanceContext",
        cloud: "CloudHalf",
        *,
        pids: Callable[[], Mapping[str, int]],
        pods: "PodAccess",
    ) -> None:
        config = context.config
        super().__init__(
            context.data_dir,
            config,
            cloud.directory,
            cloud.data,
            issuer=config.issuer,
            clock=context.clock,
        )
        self._settings, self._pids, self._pods = context.settings, pids, pods

    def status(self) -> dict[str, Any]:
        """Return the status document of `podpass status -o json`."""
        return {
            "ready": True,
            "data_dir": str(self._data_dir.root),
            "kubernetes": {
                "server": self._config.url("kubernetes"),
                "kubeconfig": str(self._data_dir.kubeconfig),
                "issuer": self._config.issuer,
                "kind": self._settings.kubernetes,
                "webhook": ""
                if self._settings.no_webhook
                else self._config.url("webhook") + names.WEBHOOK_PATH,
            },
            **self.cloud_status(),
            "console": self._config.console,
            **self._pods.status(),
            "settings": self._settings.by_flag(),
            "pids": dict(self._pids()),
        }


def identity_row(found: "Identity") -> dict[str, Any]:
    """Return the row of an identity in `podpass identity list -o json`."""
    return {
        "name": found.name,
        "kind": str(found.kind),
        "client_id": found.client_id,
        "principal_id": found.object_id,
        "application_id": found.application_id,
        "tenant_id": found.tenant_id,
        "resource_id": found.resource_id,
        "enabled": found.enabled,
        "federated_credential_count": len(found.credentials),
        "federated_credential_limit": MAX_CREDENTIALS,
        "federated_credentials": [
            {
                "name": credential.name,
                "issuer": credential.issuer,
                "subject": credential.subject,
                "expression": credential.expression,
                "audiences": list(credential.audiences),
                "description": credential.description,
            }
            for credential in found.credentials
        ],
    }


def skipped_rows(rows: Iterable["CorruptRowError"]) -> list[dict[str, str]]:
    """Return a message and a hint for each row that cannot be read."""
    return [{"message": row.message, "hint": row.hint} for row in rows]
