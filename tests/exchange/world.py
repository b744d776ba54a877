"""A running token service and a running issuer, each on its own TLS listener, and a client for both."""

import functools
import json
import shutil
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import aiohttp
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from kubeling.service_account.claims import ObjectRef, make_claims

from podpass import names
from podpass.assertion import app as issuer_app
from podpass.assertion.keys import KeyRing
from podpass.clock import Clock
from podpass.crypto import jose
from podpass.database import Database
from podpass.directory import builtin_principals
from podpass.directory.claims_expression import KubernetesIssuers
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    PermissionGrant,
    Tenant,
    User,
)
from podpass.directory.store.directory import Directory
from podpass.exchange.app import TokenService, create_app
from podpass.exchange.sign_in import passwords
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.http import server
from podpass.http.fetcher import Fetcher, FetchRules
from podpass.kubernetes.service_account.names import subject
from podpass.settings import AuthoritySettings

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"
CLIENT = "33333333-3333-4333-8333-333333333333"
APPLICATION = "44444444-4444-4444-8444-444444444444"
OBJECT = "55555555-5555-4555-8555-555555555555"
ISSUER = "https://eastus.oic.test/11111111/22222222/"
SUBJECT = subject("default", "web")
MIRID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
TOKEN_PATH = f"/{TENANT}/oauth2/v2.0/token"
NOW = 1_750_000_000.0
ADMIN = "Admin@contoso.test"
ADMIN_ID = "77777777-7777-4777-8777-777777777777"
PASSWORD = "correct horse & battery/staple"
_KEPT = passwords.hash_password(PASSWORD)


@dataclass
class Site:
    """An issuer's host: the real application, with responses that a test may replace."""

    app: server.App
    answers: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    hits: list[str] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None

    async def __call__(
        self, scope: server.Scope, receive: server.Receive, send: server.Send
    ) -> None:
        self.hits.append(scope["path"])
        if self.before is not None:
            await self.before()
        if (answer := self.answers.get(scope["path"])) is None:
            await self.app(scope, receive, send)
            return
        status, body, headers = answer
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await server.respond(send, status, body, raw)


@dataclass(kw_only=True)
class Answer:
    """A response of the service."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def code(self) -> int:
        return int(self.body["error_codes"][0])

    def claims(self) -> dict[str, Any]:
        return dict(jose.parse(self.body["access_token"]).claims)


@dataclass(kw_only=True)
class World:
    """The service, its issuer, its clock, and other objects that a test may change."""

    TENANT: ClassVar = TENANT
    OTHER_TENANT: ClassVar = OTHER_TENANT
    CLIENT: ClassVar = CLIENT
    APPLICATION: ClassVar = APPLICATION
    OBJECT: ClassVar = OBJECT
    ISSUER: ClassVar = ISSUER
    SUBJECT: ClassVar = SUBJECT
    MIRID: ClassVar = MIRID
    NOW: ClassVar = NOW
    ADMIN: ClassVar = ADMIN
    ADMIN_ID: ClassVar = ADMIN_ID
    PASSWORD: ClassVar = PASSWORD

    url: str
    ca_file: Path
    directory: Directory
    ring: KeyRing
    keys: AuthorityKeys = field(init=False)
    fetcher: Fetcher = field(init=False)
    app: TokenService = field(init=False)
    sealing: Path
    site: Site
    session: aiohttp.ClientSession
    now: float = NOW

    def clock(self) -> float:
        return self.now

    def mint(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Sign a valid assertion with changed claims; None omits a claim."""
        claims = make_claims(
            issuer=ISSUER,
            namespace="default",
            account=ObjectRef(name="web", uid="u"),
            audiences=[names.EXCHANGE_AUDIENCE],
            seconds=3600,
            now=self.now,
            jti="j",
        )
        claims.update(changes)
        present = {name: value for name, value in claims.items() if value is not None}
        key = self.ring.active
        parts = ({"alg": "RS256", "kid": key.kid, **(header or {})}, present)
        # The standard library serializes numbers of any length, which orjson refuses.
        text = ".".join(jose.b64encode(json.dumps(part).encode()) for part in parts)
        signature = key.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{jose.b64encode(signature)}"

    def form(self, **changes: str | None) -> dict[str, str]:
        """Return the form of a valid request with changed fields; None omits a field."""
        fields: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_id": CLIENT,
            "scope": "https://vault.azure.net/.default",
            "client_assertion_type": names.JWT_BEARER,
            **changes,
        }
        if "client_assertion" not in changes:
            fields["client_assertion"] = self.mint()
        return {name: value for name, value in fields.items() if value is not None}

    async def request_token(self, path: str | None = None, **changes: str | None) -> Answer:
        """Request a token with the valid form and the given changes."""
        return await self.send(path or TOKEN_PATH, body=urlencode(self.form(**changes)))

    async def present(self, assertion: str, **changes: str | None) -> Answer:
        """Request a token with an assertion, in an otherwise valid form."""
        return await self.request_token(client_assertion=assertion, **changes)

    async def post(self, path: str, **fields: str | None) -> Answer:
        """Post a form with only these fields."""
        present = {name: value for name, value in fields.items() if value is not None}
        return await self.send(path, body=urlencode(present))

    async def change(self, client_id: str, **changes: Any) -> None:
        """Change an identity."""
        identity = await self.directory.find_identity(TENANT, client_id)
        assert identity is not None
        await self.directory.identities.put(replace(identity, **changes))

    async def consent(self, resource_app_id: str, scope: str, client_id: str = APPLICATION) -> None:
        """Let an administrator consent to permissions of a client for all users."""
        client = await self.directory.find_identity(TENANT, client_id)
        resource = await self.directory.find_identity(TENANT, resource_app_id)
        assert client is not None
        built_in = builtin_principals.object_id(TENANT, resource_app_id)
        grant = PermissionGrant(
            id="",
            tenant_id=TENANT,
            client_id=client.object_id,
            resource_id=resource.object_id if resource else built_in,
            scope=scope,
        )
        await self.directory.grants.add([grant])

    async def send(
        self,
        path: str = TOKEN_PATH,
        *,
        method: str = "POST",
        body: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send any request."""
        head = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        data = body.encode() if isinstance(body, str) else body
        async with self.session.request(method, self.url + path, data=data, headers=head) as answer:
            return Answer(status=answer.status, body=await answer.json(), headers=answer.headers)


Start = Callable[..., Awaitable[World]]


def identities() -> Iterator[Identity]:
    credential = FederatedCredential(
        name="web", issuer=ISSUER, subject=SUBJECT, audiences=(names.EXCHANGE_AUDIENCE,)
    )
    yield Identity(
        tenant_id=TENANT,
        client_id=CLIENT,
        object_id=OBJECT,
        name="web",
        resource_id=MIRID,
        credentials=(credential,),
    )
    yield Identity(
        tenant_id=TENANT,
        client_id=APPLICATION,
        object_id=APPLICATION.replace("4", "6"),
        name="app",
        kind=IdentityKind.APPLICATION,
        credentials=(credential,),
    )


async def start(
    stack: AsyncExitStack,
    ca: trustme.CA,
    key_folders: Path,
    folder: Path,
    clock: Clock | None = None,
    **settings: Any,
) -> World:
    """Start a world on a copy of the keys and of the database with the test data."""
    shutil.copytree(key_folders, folder / "keys")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    # The clock of the machine may step back between a rotation and the next use of the key.
    ring = KeyRing.open(folder / "keys" / "issuer", lambda: NOW)
    database = Database(f"sqlite:///{folder / 'keys' / 'authority' / 'directory.db'}")
    expressions = KubernetesIssuers(issuers=frozenset(settings.get("flexible_kubernetes", ())))
    directory = await stack.enter_async_context(Directory(database, expressions=expressions))
    site = Site(issuer_app.create_app(ISSUER, ring))
    issuer_port = await listen(stack, ca, site, "eastus.oic.test")
    sock = server.bind("127.0.0.1", 0)
    url = f"https://localhost:{sock.getsockname()[1]}"
    trust = ssl.create_default_context(cafile=folder / "ca.pem")
    connector = aiohttp.TCPConnector(ssl=trust)
    world = World(
        url=url,
        ca_file=folder / "ca.pem",
        directory=directory,
        ring=ring,
        sealing=folder / "keys" / "authority" / "sealing.key",
        site=site,
        session=await stack.enter_async_context(aiohttp.ClientSession(connector=connector)),
    )
    world.keys = await AuthorityKeys.open(database, world.sealing, clock or world.clock)
    hosts = {"*.oic.test": ("127.0.0.1", issuer_port)}
    world.fetcher = Fetcher(FetchRules(hosts=hosts, ca_file=folder / "ca.pem"))
    origins = ("https://login.microsoftonline.com", "https://login.windows.net", url)
    described = AuthoritySettings(**{"origins": origins, **settings})
    world.app = create_app(described, directory, world.fetcher, world.keys, clock or world.clock)
    await listen(stack, ca, world.app, "localhost", sock)
    return world


async def add_test_data(directory: Directory) -> None:
    await directory.create_tenant(
        Tenant(id=TENANT, display_name="Contoso", domains=("contoso.test",))
    )
    await directory.create_tenant(Tenant(id=OTHER_TENANT, display_name="Fabrikam"))
    for identity in identities():
        await directory.identities.put(identity)
    await directory.users.put(
        User(id=ADMIN_ID, tenant_id=TENANT, name=ADMIN, display_name="Ada Admin", password=_KEPT)
    )


@functools.cache
def _server_tls(ca: trustme.CA, name: str) -> ssl.SSLContext:
    """Return the TLS of a host name; all worlds of a process share it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(tls)
    return tls


async def listen(
    stack: AsyncExitStack, ca: trustme.CA, app: server.App, name: str, sock: Any = None
) -> int:
    """Serve an application at a host name until the stack exits; return its port."""
    sock = sock or server.bind("127.0.0.1", 0)
    await stack.enter_async_context(server.serving(app, sock, _server_tls(ca, name)))
    return int(sock.getsockname()[1])
