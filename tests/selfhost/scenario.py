"""A service with two replicas, and the events during its clients' run."""

import asyncio
import contextlib
import hashlib
import os
import ssl
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from podpass.directory.model import Identity, IdentityKind
from podpass.lab.data.environment import TRUSTSTORE_PASSWORD
from podpass.lab.data.trust import java_truststore
from tests import postgres, process_reaper
from tests.ports import free_port
from tests.selfhost.sessions import PROGRAMS, Session
from tests.soak import identities
from tests.soak.balancer import LoadBalancer
from tests.soak.lane import TENANT
from tests.soak.replica import run_podpass
from tests.soak.testbed import Testbed, run_testbed

_API = "88888888-8888-4888-8888-888888888888"
# One resource with many names: a client has no cached token for a new name, so it sends a request.
NAMES = [f"api://orders-{number}" for number in range(50)]
# The API's minimum time between two fetches of the published keys because of an unknown key id.
_KEYS_SECONDS = 10.0
_TRIES, _PAUSE_SECONDS = 10, 0.5


@dataclass
class ClientRecord:
    """The results of one client by the event before each request.

    `kids` are the signing keys of its tokens, as the API and PyJWT report them; `refused` are the errors;
    `again` counts the retries of its program.
    """

    kids: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    first_token: str = ""
    first_token_later: int = 0


class Scenario:
    """A service with two replicas behind one address; it causes events and records the clients' results."""

    def __init__(self, made: Testbed, balancer: LoadBalancer, database: postgres.Server) -> None:
        self.testbed, self.balancer, self.database = made, balancer, database
        self._asked = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.balancer.port}"

    def environ(self) -> dict[str, str]:
        """Return the environment variables that configure a client."""
        folder, ca = self.testbed.config.folder, str(self.testbed.config.ca_file)
        token_file, store = folder / "token", folder / "truststore.p12"
        token_file.write_text(self.testbed.issuer.assertion(identities.account_name(0)))
        store.write_bytes(java_truststore([self.testbed.config.ca_file.read_bytes()]))
        trusted = (
            "trustStoreType=PKCS12",
            f"trustStorePassword={TRUSTSTORE_PASSWORD}",
            f"trustStore={store}",
        )
        return {
            **process_reaper.run_mark(),
            "HOME": str(folder),
            "AZURE_TENANT_ID": TENANT.id,
            "AZURE_CLIENT_ID": identities.stable_client_id(0),
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "AZURE_AUTHORITY_HOST": f"{self.url}/",
            "REQUESTS_CA_BUNDLE": ca,
            "SSL_CERT_FILE": ca,
            "NODE_EXTRA_CA_CERTS": ca,
            "JAVA_TOOL_OPTIONS": " ".join(f"-Djavax.net.ssl.{each}" for each in trusted),
        }

    async def run(self, sessions: Mapping[str, Session]) -> dict[str, ClientRecord]:
        """Cause all events; every client requests a token after each."""
        seen = {name: ClientRecord() for name in sessions}
        async with self._api() as api:
            self._checks = api
            request_from_all = self._request_callback(sessions, seen)
            await request_from_all("begun")
            await asyncio.sleep(_KEYS_SECONDS)
            await asyncio.to_thread(
                *(run_podpass, "authority", "rotate"),
                *("--at-once", *self.testbed.config.database_flags()),
            )
            await asyncio.sleep(1.5)
            await request_from_all("key rotated")
            for one in seen.values():
                one.first_token_later, _ = await api.call_api(one.first_token)
            await asyncio.to_thread(self.database.stop)
            asking = asyncio.ensure_future(request_from_all("database down"))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self.database.start)
            await asking
            await request_from_all("database back")
            await asyncio.to_thread(self.testbed.replicas[0].kill)
            await request_from_all("replica killed")
            await asyncio.to_thread(self._restart_replica)
            await request_from_all("replica back")
            await asyncio.to_thread(self.testbed.replicas[1].drain)
            await request_from_all("replica drained")
        return seen

    def _restart_replica(self) -> None:
        self.testbed.replicas[0].start()
        self.balancer.ports[0] = self.testbed.replicas[0].port

    def _request_callback(
        self, sessions: Mapping[str, Session], seen: Mapping[str, ClientRecord]
    ) -> Callable[[str], Awaitable[None]]:
        async def request_from_all(when: str) -> None:
            name = NAMES[self._asked]
            self._asked += 1
            await asyncio.gather(
                *(
                    self._request_from(session, seen[each], when, name)
                    for each, session in sessions.items()
                )
            )

        return request_from_all

    async def _request_from(
        self, session: Session, seen: ClientRecord, when: str, name: str
    ) -> None:
        said = await session.request_token(f"{name}/.default")
        # If a library does not retry, its program must retry after an outage.
        while "token" not in said and session.asks_again and seen.again.get(when, 0) < _TRIES:
            seen.again[when] = seen.again.get(when, 0) + 1
            await asyncio.sleep(_PAUSE_SECONDS)
            said = await session.request_token(f"{name}/.default")
        if "token" not in said:
            seen.refused[when] = said["error"][:500]
            return
        status, kid = await self._checks.call_api(said["token"])
        second = await asyncio.to_thread(self._checks.check_with_pyjwt, said["token"])
        if (status, kid) == (200, second):
            seen.kids[when] = kid
        else:
            seen.refused[when] = f"the API answers {status} {kid}, PyJWT finds {second}"
        seen.first_token = seen.first_token or said["token"]

    @contextlib.asynccontextmanager
    async def _api(self) -> AsyncIterator["TokenChecks"]:
        folder = self.testbed.config.folder
        environ = {
            "PATH": os.environ["PATH"],
            **process_reaper.run_mark(),
            "AUTHORITY": self.url,
            "TENANT": TENANT.id,
            "AUDIENCE": _API,
            "SSL_CERT_FILE": str(self.testbed.config.ca_file),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAMS / "api.py"), str(folder)),
            stdout=asyncio.subprocess.PIPE,
            env=environ,
        )
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            tls = ssl.create_default_context(cafile=self.testbed.config.ca_file)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
                yield TokenChecks(session, f"https://localhost:{port}/", self.url, tls)
        finally:
            process.kill()
            await process.wait()


class TokenChecks:
    """Checks tokens with an API that uses podpass's guard, and with PyJWT and cached keys."""

    def __init__(
        self, session: aiohttp.ClientSession, api: str, authority: str, tls: ssl.SSLContext
    ) -> None:
        self._session, self._api = session, api
        keys = f"{authority}/{TENANT.id}/discovery/v2.0/keys"
        self._keys = jwt.PyJWKClient(keys, ssl_context=tls)

    async def call_api(self, token: str) -> tuple[int, str]:
        """Call the API; return its status, and the signing key or the error."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.get(self._api, headers=headers) as answered:
            body: dict[str, Any] = await answered.json(content_type=None)
        return answered.status, str(body.get("key") or body)

    def check_with_pyjwt(self, token: str) -> str:
        """Check with PyJWT; return the key id or the error."""
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            jwt.decode(token, key, ["RS256"], audience=_API)
        except jwt.PyJWTError as exc:
            return str(exc)
        return str(key.key_id)


@contextlib.asynccontextmanager
async def run_scenario(folder: Path, database: postgres.Server) -> AsyncIterator[Scenario]:
    """Start a service with two replicas and a load balancer."""
    port = free_port()
    async with AsyncExitStack() as stack:
        origins = [f"https://localhost:{port}"]
        made = await stack.enter_async_context(
            run_testbed(folder, database.fresh(), origins=origins)
        )
        await made.directory.identities.put(_api_identity())
        await asyncio.to_thread(made.start, 2)
        balancer = LoadBalancer([one.port for one in made.replicas])
        await stack.enter_async_context(balancer.serving(port))
        yield Scenario(made, balancer, database)


def _api_identity() -> Identity:
    return Identity(
        tenant_id=TENANT.id,
        client_id=_API,
        object_id=str(uuid.UUID(hashlib.md5(_API.encode()).hexdigest())),
        name="orders",
        kind=IdentityKind.APPLICATION,
        identifier_uris=tuple(NAMES),
    )
