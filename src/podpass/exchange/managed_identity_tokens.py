"""Tokens of managed identities without an assertion, for the managed identity endpoint of the same process.

In Azure, the host of a virtual machine vouches for the identities that are assigned to it. Here, the endpoint
does: it calls this class only for an identity that its caller may use. No HTTP request reaches it directly.
"""

import logging
import os
import time
from dataclasses import dataclass, field

from podpass import log
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.directory.model import IdentityKind
from podpass.exchange import access_token, scope
from podpass.exchange.access_token import Exchange
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.authenticator import Acr, ClientAuthentication
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.client_credentials import ClientCredentialsVerifier
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.metrics import GRANTED
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.signer import Signer
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

_CREDENTIAL = "managed identity endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedIdentityToken:
    """An access token.

    Units: `expires` in seconds since the epoch.
    """

    token: str = field(repr=False)
    expires: int


class ManagedIdentityTokens:
    """Issues tokens to managed identities."""

    def __init__(
        self,
        directory: DirectoryReader,
        verifier: ClientCredentialsVerifier,
        keys: AuthorityKeys,
        settings: AuthoritySettings,
        clock: Clock,
        signer: Signer,
    ) -> None:
        self._directory = directory
        self._verifier = verifier
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._signer = signer

    async def issue(self, tenant_id: str, client_id: str, requested: str) -> ManagedIdentityToken:
        """Issue a token of a managed identity for a resource.

        Raises AadstsError 700016, 7000112, 7000229 for the identity, 70011, 500011, 501051 for the resource.
        """
        began = time.perf_counter()
        tenant = await directory_lookup.find_tenant(
            self._directory, tenant_id, grant="managed identity"
        )
        identity = await directory_lookup.find_client(self._directory, tenant, client_id)
        if identity.kind is not IdentityKind.MANAGED_IDENTITY:
            raise AadstsError(
                numbers.UNKNOWN_CLIENT, client=client_id, tenant=tenant.display_name or tenant.id
            )
        if not scope.is_resource(requested):
            raise AadstsError(numbers.INVALID_SCOPE, scope=requested)
        resource, roles = await self._verifier.find_access(tenant, identity, requested)
        exchange = Exchange(
            tenant=tenant,
            identity=identity,
            client_auth=ClientAuthentication(acr=Acr.ASSERTION, credential=_CREDENTIAL),
            resource=resource,
            roles=roles,
            requested=requested,
            origin=self._settings.origins[0],
        )
        now, seconds = self._clock(), self._settings.token_seconds
        uti = jose.b64encode(os.urandom(16))
        claims = access_token.build_claims(exchange, now=now, seconds=seconds, uti=uti)
        key = await self._keys.current()
        token = await self._signer.sign(key, claims, access_token.build_header(claims, key.kid))
        log.hop(
            _log,
            "managed_identity_token_issued",
            stage="exchange",
            asked=f"token for {requested}",
            checked=("tenant", "client", "resource"),
            seconds=time.perf_counter() - began,
            tenant_id=tenant.id,
            client_id=identity.client_id,
            oid=identity.object_id,
            resource=requested,
            uti=uti,
            credential=_CREDENTIAL,
            outcome=GRANTED,
        )
        return ManagedIdentityToken(token=token, expires=int(now) + seconds)
