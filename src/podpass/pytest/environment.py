"""The environment of the test process, in which Azure SDKs use the instance and one of its identities."""

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from podpass import names

if TYPE_CHECKING:
    import pytest

    from podpass.pytest.instance import Podpass
    from podpass.pytest.objects import IdentityHandle

# azure-identity 1.25 and later then use no other sign-in of the machine, and send no request to its
# metadata service.
_CREDENTIALS = "AZURE_TOKEN_CREDENTIALS"
_ONLY_WORKLOAD_IDENTITY = "WorkloadIdentityCredential"


class TestEnvironment:
    """Environment variables of one test; all are restored at its end."""

    __test__ = False  # not a class of tests

    def __init__(self, podpass: "Podpass", patch: "pytest.MonkeyPatch", folder: Path) -> None:
        self._podpass, self._patch, self._folder = podpass, patch, folder

    def use_gateway(self) -> None:
        """Route Azure's hosts to the instance, trust its CA, and remove other sign-ins."""
        from aiohttp import connector

        from podpass.lab.host.host_identity import IDENTITY_VARIABLES

        for name in (*IDENTITY_VARIABLES, _CREDENTIALS):
            self._patch.delenv(name, raising=False)
        values = self._podpass.environment()
        self._set(values)
        # aiohttp, the transport of asynchronous Azure SDKs, reads the CA bundle once, when it is imported.
        # Its default context has no setting.
        context = _default_context(values["SSL_CERT_FILE"])
        self._patch.setattr(connector, "_SSL_CONTEXT_VERIFIED", context, raising=False)

    def has_identity(self) -> bool:
        """Return whether the test has an identity, from `sign_in` or from variables that it set itself."""
        from podpass.lab.host.host_identity import IDENTITY_VARIABLES

        return any(name in os.environ for name in IDENTITY_VARIABLES)  # noqa: TID251 set by the test

    def sign_in(self, identity: "IdentityHandle", *, account: str = "", token: str = "") -> None:
        """Make `DefaultAzureCredential` use an identity, with a token of a ServiceAccount.

        `account` is by default the first ServiceAccount that the identity trusts; `token` replaces its token,
        for tests of refusals.
        """
        if not token:
            account = account or identity.account
            self._podpass.kubernetes.create_account(account, identity.client_id)
            token = self._podpass.kubernetes.request_token(account)
        file = self._folder / f"{identity.client_id}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        self._set(workload_variables(identity.client_id, identity.tenant_id, file))

    def _set(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            self._patch.setenv(name, value)


@lru_cache(maxsize=1)  # reading a bundle takes as long as several resets
def _default_context(bundle: str) -> ssl.SSLContext:
    """Return a context like aiohttp's default one, which trusts the CAs of a bundle."""
    context = ssl.create_default_context(cafile=bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context


def workload_variables(client_id: str, tenant_id: str, token_file: Path) -> dict[str, str]:
    """Return the variables that the webhook injects, for a token in a file."""
    return {
        names.ENV_CLIENT_ID: client_id,
        names.ENV_TENANT_ID: tenant_id,
        names.ENV_TOKEN_FILE: str(token_file),
        names.ENV_AUTHORITY_HOST: "https://login.microsoftonline.com/",
        _CREDENTIALS: _ONLY_WORKLOAD_IDENTITY,
    }
