"""What happens to a service while its clients run on, in one sitting for all of them."""

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
from podpass.local.environment import TRUSTSTORE_PASSWORD
from podpass.local.trust import java_truststore
from tests import postgres
from tests.selfhost.sessions import PROGRAMS, Session
from tests.soak import people
from tests.soak.balancer import Balancer
from tests.soak.lane import TENANT
from tests.soak.replica import podpass
from tests.soak.site import Site, free_port, site

_API = "88888888-8888-4888-8888-888888888888"
# One resource under many names: a token for a name is in no cache yet, so each makes the client ask.
NAMES = [f"api://orders-{number}" for number in range(50)]
# What the API leaves between two looks at the published keys for a name it does not know.
_KEYS_SECONDS = 10.0
_TRIES, _PAUSE_SECONDS = 10, 0.5


@dataclass
class Seen:
    """What came of one client's asking, by what happened before it.

    Shapes:  `kids` are the keys that signed its tokens, as the API and PyJWT found them; `refused` what is
             wrong with the others; `again` how often its program had to ask again.
    """

    kids: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    first_token: str = ""
    first_token_later: int = 0


class Story:
    """A service of two replicas behind one address, and what its clients see of its life."""

    def __init__(self, made: Site, balancer: Balancer, database: postgres.Server) -> None:
        self.site, self.balancer, self.database = made, balancer, database
        self._asked = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.balancer.port}"

    def environ(self) -> dict[str, str]:
        """Give what a client is led by: variables alone."""
        folder, ca = self.site.place.folder, str(self.site.place.ca_file)
        token_file, store = folder / "token", folder / "truststore.p12"
        token_file.write_text(self.site.issuer.assertion(people.account(0)))
        store.write_bytes(java_truststore([self.site.place.ca_file.read_bytes()]))
        trusted = (
            "trustStoreType=PKCS12",
            f"trustStorePassword={TRUSTSTORE_PASSWORD}",
            f"trustStore={store}",
        )
        return {
            "HOME": str(folder),
            "AZURE_TENANT_ID": TENANT.id,
            "AZURE_CLIENT_ID": people.client(0),
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
            "AZURE_AUTHORITY_HOST": f"{self.url}/",
            "REQUESTS_CA_BUNDLE": ca,
            "SSL_CERT_FILE": ca,
            "NODE_EXTRA_CA_CERTS": ca,
            "JAVA_TOOL_OPTIONS": " ".join(f"-Djavax.net.ssl.{each}" for each in trusted),
        }

    async def tell(self, sessions: Mapping[str, Session]) -> dict[str, Seen]:
        """Let it all happen; every client asks after each thing that did."""
        seen = {name: Seen() for name in sessions}
        async with self._api() as api:
            self._judge = api
            ask = self._all(sessions, seen)
            await ask("begun")
            await asyncio.sleep(_KEYS_SECONDS)
            await asyncio.to_thread(
                podpass, "authority", "rotate", "--at-once", *self.site.place.stored()
            )
            await asyncio.sleep(1.5)
            await ask("key rotated")
            for one in seen.values():
                one.first_token_later, _ = await api.admit(one.first_token)
            await asyncio.to_thread(self.database.stop)
            asking = asyncio.ensure_future(ask("database down"))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self.database.start)
            await asking
            await ask("database back")
            await asyncio.to_thread(self.site.replicas[0].kill)
            await ask("replica killed")
            await asyncio.to_thread(self._come_back)
            await ask("replica back")
            await asyncio.to_thread(self.site.replicas[1].drain)
            await ask("replica drained")
        return seen

    def _come_back(self) -> None:
        self.site.replicas[0].start()
        self.balancer.ports[0] = self.site.replicas[0].port

    def _all(
        self, sessions: Mapping[str, Session], seen: Mapping[str, Seen]
    ) -> Callable[[str], Awaitable[None]]:
        async def ask(when: str) -> None:
            name = NAMES[self._asked]
            self._asked += 1
            await asyncio.gather(
                *(self._one(session, seen[each], when, name) for each, session in sessions.items())
            )

        return ask

    async def _one(self, session: Session, seen: Seen, when: str, name: str) -> None:
        said = await session.ask(f"{name}/.default")
        # What a library leaves to its program: to ask again when the service or the connection was away.
        while "token" not in said and session.asks_again and seen.again.get(when, 0) < _TRIES:
            seen.again[when] = seen.again.get(when, 0) + 1
            await asyncio.sleep(_PAUSE_SECONDS)
            said = await session.ask(f"{name}/.default")
        if "token" not in said:
            seen.refused[when] = said["error"][:500]
            return
        status, kid = await self._judge.admit(said["token"])
        second = await asyncio.to_thread(self._judge.second, said["token"])
        if (status, kid) == (200, second):
            seen.kids[when] = kid
        else:
            seen.refused[when] = f"the API answers {status} {kid}, PyJWT finds {second}"
        seen.first_token = seen.first_token or said["token"]

    @contextlib.asynccontextmanager
    async def _api(self) -> AsyncIterator["Judge"]:
        folder = self.site.place.folder
        environ = {
            "PATH": os.environ["PATH"],
            "AUTHORITY": self.url,
            "TENANT": TENANT.id,
            "AUDIENCE": _API,
            "SSL_CERT_FILE": str(self.site.place.ca_file),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAMS / "api.py"), str(folder)),
            stdout=asyncio.subprocess.PIPE,
            env=environ,
        )
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            tls = ssl.create_default_context(cafile=self.site.place.ca_file)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
                yield Judge(session, f"https://localhost:{port}/", self.url, tls)
        finally:
            process.kill()
            await process.wait()


class Judge:
    """Who looks at tokens: an API behind podpass's guard, and PyJWT with the keys it keeps."""

    def __init__(
        self, session: aiohttp.ClientSession, api: str, authority: str, tls: ssl.SSLContext
    ) -> None:
        self._session, self._api = session, api
        keys = f"{authority}/{TENANT.id}/discovery/v2.0/keys"
        self._keys = jwt.PyJWKClient(keys, ssl_context=tls)

    async def admit(self, token: str) -> tuple[int, str]:
        """Call the API; give its status, and the key it saw or what it said."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.get(self._api, headers=headers) as answered:
            body: dict[str, Any] = await answered.json(content_type=None)
        return answered.status, str(body.get("key") or body)

    def second(self, token: str) -> str:
        """Check with PyJWT; give the key, or what is wrong."""
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            jwt.decode(token, key, ["RS256"], audience=_API)
        except jwt.PyJWTError as exc:
            return str(exc)
        return str(key.key_id)


@contextlib.asynccontextmanager
async def story(folder: Path, database: postgres.Server) -> AsyncIterator[Story]:
    """Start a service of two replicas, and a balancer before them."""
    port = free_port()
    async with AsyncExitStack() as stack:
        origins = [f"https://localhost:{port}"]
        made = await stack.enter_async_context(site(folder, database.fresh(), origins=origins))
        await made.directory.identities.put(_api_identity())
        await asyncio.to_thread(made.start, 2)
        balancer = Balancer([one.port for one in made.replicas])
        await stack.enter_async_context(balancer.serving(port))
        yield Story(made, balancer, database)


def _api_identity() -> Identity:
    return Identity(
        tenant_id=TENANT.id,
        client_id=_API,
        object_id=str(uuid.UUID(hashlib.md5(_API.encode()).hexdigest())),
        name="orders",
        kind=IdentityKind.APPLICATION,
        identifier_uris=tuple(NAMES),
    )
