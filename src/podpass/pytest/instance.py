"""The instance of the tests: seeding, reset, and access to everything that tests change."""

import json
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from podpass.errors import UsageError
from podpass.kubernetes.service_account.names import subject
from podpass.pytest.client import ServiceConnection
from podpass.pytest.kubernetes import Kubernetes
from podpass.pytest.objects import IdentityHandle, VaultHandle, read_identity
from podpass.pytest.process import InstanceProcess, RunningInstance
from podpass.pytest.tokens import Tokens


class ActiveFault:
    """A fault that was injected; use it as a context, or call `remove`."""

    def __init__(self, control: ServiceConnection, fault_id: int) -> None:
        self._control = control
        self._id = fault_id

    def remove(self) -> None:
        """Remove the fault; it may have ended already."""
        self._control.request("POST", "/tests/recover", {"id": self._id})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


class Faults:
    """Injects faults into the services `authority`, `azure`, `issuer`, `kubernetes`, `vault` and `webhook`.

    `times` is the number of requests that get the fault; without it, all do.
    """

    def __init__(self, control: ServiceConnection) -> None:
        self._control = control

    def away(self, service: str = "authority", *, times: int | None = None) -> ActiveFault:
        """Reset each connection to a service without a response."""
        return self._add(service=service, kind="away", times=times)

    def slow(
        self, seconds: float, service: str = "authority", *, times: int | None = None
    ) -> ActiveFault:
        """Delay each response of a service."""
        return self._add(service=service, kind="slow", seconds=seconds, times=times)

    def aadsts(
        self,
        number: int,
        *,
        client_id: str = "",
        retry_after: int | None = None,
        times: int | None = None,
    ) -> ActiveFault:
        """Refuse token requests with an AADSTS error, of one client or of all."""
        return self._add(
            service="authority",
            kind="aadsts",
            number=number,
            client_id=client_id,
            retry_after=retry_after,
            times=times,
        )

    def status(
        self,
        status: int,
        service: str = "vault",
        *,
        retry_after: int | None = None,
        times: int | None = None,
    ) -> ActiveFault:
        """Answer each request to a service with an HTTP status from 400 to 599."""
        return self._add(
            service=service, kind="status", status=status, retry_after=retry_after, times=times
        )

    def clear(self) -> None:
        """Remove all faults."""
        self._control.request("POST", "/tests/recover", {})

    def _add(self, **fault: Any) -> ActiveFault:
        added = self._control.request("POST", "/tests/fault", fault)
        return ActiveFault(self._control, int(added["id"]))


Seed = str | Path | Mapping[str, Any] | None
"""A seed: its text, its file, or its content."""

_READER = "Key Vault Secrets User"


class Podpass:
    """A running instance.

    `is_shared` is true if other test processes use it too; it is then not reset.
    """

    def __init__(self, process: RunningInstance, *, is_shared: bool = False) -> None:
        from podpass.lab.data.datadir import load_config

        self._process = process
        self._data_dir = data_dir = process.data_dir
        config = load_config(data_dir)
        self.is_shared = is_shared
        self.tenant_id, self.subscription_id = config.tenant_id, config.subscription_id
        self.issuer = config.issuer
        self.gateway = config.gateway
        self.authority = config.direct_origin("authority")
        self._gateway_port = config.ports["gateway"]
        self._control = ServiceConnection(
            config.ports["control"], data_dir.ca_file, token=config.control_token.reveal()
        )
        self._authority = ServiceConnection(config.ports["authority"], data_dir.ca_file)
        self.kubernetes = Kubernetes(data_dir, config.ports["kubernetes"])
        self._faults = Faults(self._control)
        self.tokens = Tokens(
            data_dir,
            self._control,
            self._authority,
            issuer=config.issuer,
            tenant_id=config.tenant_id,
            request=self.kubernetes.request_token,
        )

    @classmethod
    def start(cls, folder: Path, seed: Seed = None, *, is_shared: bool = False) -> "Podpass":
        """Start an instance in a folder, or use the one that runs there.

        Raises Error, with the cause of a failed start.
        """
        process = InstanceProcess(folder)
        process.join(seed_text(seed), os.environ)  # noqa: TID251 the environment of the tests
        return cls(process, is_shared=is_shared)

    def stop(self) -> None:
        """Stop the instance; a shared one stops when no test process uses it any more."""
        for each in (self._control, self._authority):
            each.close()
        self.kubernetes.close()
        if self.is_shared:
            self._process.leave()
        else:
            self._process.stop()

    @property
    def data_dir(self) -> Path:
        """Return the data directory."""
        return self._data_dir.root

    @property
    def ca_file(self) -> Path:
        """Return the file with the CA of the instance."""
        return self._data_dir.ca_file

    @property
    def faults(self) -> Faults:
        """Return the faults of the instance. Raises UsageError for a shared instance."""
        self._require_own("inject faults into")
        return self._faults

    def environment(self) -> dict[str, str]:
        """Return the variables with which a program uses the instance: proxy, CA, kubeconfig."""
        from podpass.lab.data.environment import host_environment

        environ = os.environ  # noqa: TID251 the environment of the tests
        return host_environment(self._data_dir, self._gateway_port, environ)

    # ----------------------------------------------------------------------------------------- seeding

    def apply(self, seed: Seed) -> list[str]:
        """Apply a seed; return the changes.

        Raises InstanceRequestFailed, with line and cause of each problem.
        """
        query = urlencode({"filename": "the seed of the test"})
        text = seed_text(seed).encode()
        answer = self._control.request("POST", f"/apply?{query}", text, "application/yaml")
        return [str(each) for each in answer["changed"]]

    def create_identity(
        self,
        name: str,
        *,
        accounts: Iterable[str] = (),
        kind: str = "managed-identity",
        client_id: str = "",
    ) -> IdentityHandle:
        """Create an identity that trusts ServiceAccounts, `NAMESPACE/NAME`, or change the existing one."""
        credentials = [
            {"name": f"account-{number}", "issuer": "cluster", "subject": _subject(account)}
            for number, account in enumerate(accounts)
        ]
        entry: dict[str, Any] = {"name": name, "kind": kind, "federated_credentials": credentials}
        if client_id:
            entry["client_id"] = client_id
        self.apply({"identities": [entry]})
        return self.identity(name)

    def identity(self, name: str) -> IdentityHandle:
        """Return an identity. Raises LookupError."""
        query = ""
        while True:
            page = self._control.request("GET", f"/identities{query}")
            for row in page["value"]:
                if row["name"] == name:
                    return read_identity(row, self.issuer, self._control)
            if page["after"] is None:
                raise LookupError(f"the instance has no identity {name!r}")
            query = "?" + urlencode({"after": page["after"]})

    def create_vault(
        self,
        name: str,
        secrets: Mapping[str, str] | None = None,
        *,
        readers: Iterable[IdentityHandle] = (),
        access: Mapping[str, str] | None = None,
    ) -> VaultHandle:
        """Create a vault, or add secrets and access to the one of this name.

        `readers` may read secrets; `access` maps names of identities to their roles.
        """
        roles = {**{each.name: _READER for each in readers}, **(access or {})}
        entry = {
            "name": name,
            "secrets": dict(secrets or {}),
            "access": [{"identity": each, "role": role} for each, role in roles.items()],
        }
        self.apply({"vaults": [entry]})
        return self.vault(name)

    def vault(self, name: str) -> VaultHandle:
        """Return a vault, which a seed has created."""
        return VaultHandle(name=name, _control=self._control)

    # ------------------------------------------------------------------------------------------- state

    def reset(self) -> float:
        """Return to the baseline: the state after the session's seed. Return the milliseconds it took.

        Raises UsageError for a shared instance.
        """
        self._require_own("reset")
        return float(self._control.request("POST", "/tests/reset", {})["took_ms"])

    def set_baseline(self) -> None:
        """Make the current state the one to which `reset` returns.

        Raises UsageError for a shared instance.
        """
        self._require_own("change the baseline of")
        self._control.request("POST", "/tests/baseline", {})

    def move_clock(self, **duration: float) -> None:
        """Move the clock of the instance by a duration, with the arguments of `timedelta`.

        Raises UsageError for a shared instance.
        """
        self._require_own("move the clock of")
        seconds = timedelta(**duration).total_seconds()
        self._control.request("POST", "/tests/clock", {"seconds": seconds})

    def rotate_issuer_key(self, *, withdraw: bool = False) -> str:
        """Rotate the key that signs tokens of ServiceAccounts; return the new key's ID.

        With `withdraw`, tokens that the old key has signed are refused.
        """
        return self._rotate("issuer", withdraw=withdraw)

    def rotate_authority_key(self, *, withdraw: bool = False) -> str:
        """Rotate the key that signs access tokens; return the new key's ID."""
        return self._rotate("authority", withdraw=withdraw)

    def _rotate(self, keys: str, *, withdraw: bool) -> str:
        self._require_own("rotate keys of")
        given = {"keys": keys, "withdraw": withdraw}
        return str(self._control.request("POST", "/tests/rotate", given)["kid"])

    def _require_own(self, what: str) -> None:
        if self.is_shared:
            raise UsageError(
                f"a test cannot {what} an instance that it shares with other test processes",
                hint="run without --podpass-shared, so that each process has its own instance",
            )


def _subject(account: str) -> str:
    namespace, _, name = account.rpartition("/")
    return subject(namespace or "default", name)


def seed_text(seed: Seed) -> str:
    """Return the text of a seed."""
    if isinstance(seed, Path):
        return seed.read_text()
    # JSON is YAML.
    return seed if isinstance(seed, str) else json.dumps(seed or {})
