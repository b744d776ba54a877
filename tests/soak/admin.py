"""kill -9 of `podpass authority` while its admin APIs are written to: what was answered is there.

Lanes write through Resource Manager, each one request after the other: identities, their credentials, a
role, and their end. Afterwards the directory holds what was answered, or one request more, with its audit.
"""

import asyncio
import itertools
import random
import ssl
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from podpass import names
from podpass.directory import resource_ids
from podpass.directory.store.directory import Directory
from tests.soak import people
from tests.soak.asking import Asker, form
from tests.soak.lane import SUB, TENANT
from tests.soak.progress import say
from tests.soak.quantiles import milliseconds
from tests.soak.replica import podpass
from tests.soak.site import Site
from tests.soak.wrong import Wrong

LANES = 4
FLAGS = (
    *("--admin-listen", "127.0.0.1:0", "--tenant-id", TENANT.id),
    *("--subscription-id", SUB),
)
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_IDENTITY = "?api-version=2023-01-31"
_ROLE = "?api-version=2022-04-01"
_DONE = (200, 201, 202, 204)
State = dict[str, frozenset[str]]


def seed(site: Site) -> None:
    """Make the administrator, as whoever installs the service does."""
    account = "manager"
    file = site.place.folder / "seed.yaml"
    file.write_text(
        f"""administrators: [{account}]
identities:
  - name: {account}
    client_id: {people.ADMINISTRATOR}
    federated_credentials:
      - name: {account}
        issuer: {site.issuer.url()}
        subject: {names.subject("default", account)}
"""
    )
    where = ["--database", site.place.database, "--tenant-id", TENANT.id, "--subscription-id", SUB]
    podpass("authority", "seed", "-f", str(file), *where)


@dataclass
class Lane:
    """What one lane was answered, as the state that it must have left.

    Shapes:  identities by name with the names of their credentials; `next` is the state if the request
             under way was carried out too.
    """

    number: int
    now: State = field(default_factory=dict)
    next: State = field(default_factory=dict)
    turn: int = 0
    answered: int = 0

    @property
    def group(self) -> str:
        return f"admin-{self.number}"


class Writer:
    """Requests to the admin address with a token of the authority itself."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request; give its answer.

        Errors:  Wrong for a refusal; aiohttp's where nobody answers.
        """
        async with self._session.request(method, self._url + path, json=body) as answered:
            found = await answered.json(content_type=None) if answered.status != 204 else {}
            if answered.status not in _DONE:
                raise Wrong(f"{method} {path} was answered {answered.status}: {str(found)[:300]}")
            return dict(found or {})

    async def write(self, lane: Lane) -> None:
        """Go through the lane's script until nobody answers."""
        while True:
            lane.turn += 1
            await self._turn(lane, f"id{lane.turn}-lane{lane.number}")

    async def _turn(self, lane: Lane, name: str) -> None:
        place = resource_ids.identity_id(SUB, lane.group, name)
        made = await self._step(
            lane, name, frozenset(), "PUT", place + _IDENTITY, {"location": "eastus"}
        )
        for held in (["one"], ["one", "two"]):
            path = f"{place}/federatedIdentityCredentials/{held[-1]}{_IDENTITY}"
            trust = {"issuer": "https://issuer.test/", "subject": held[-1], "audiences": ["a"]}
            await self._step(lane, name, frozenset(held), "PUT", path, {"properties": trust})
        given = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}",
            "principalId": made["properties"]["principalId"],
            "principalType": "ServicePrincipal",
        }
        role = f"{place}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}{_ROLE}"
        await self._step(lane, name, lane.now[name], "PUT", role, {"properties": given})
        path = f"{place}/federatedIdentityCredentials/one{_IDENTITY}"
        await self._step(lane, name, frozenset(["two"]), "DELETE", path)
        if lane.turn % 2:
            await self._step(lane, name, None, "DELETE", place + _IDENTITY)

    async def _step(
        self,
        lane: Lane,
        name: str,
        then: frozenset[str] | None,
        method: str,
        path: str,
        body: Any = None,
    ) -> dict[str, Any]:
        lane.next = {**lane.now}
        if then is None:
            del lane.next[name]
        else:
            lane.next[name] = then
        found = await self.send(method, path, body)
        lane.now = lane.next
        lane.answered += 1
        return found


async def admin_kills(
    site: Site, rounds: int, seed_number: int
) -> tuple[dict[str, Any], list[float]]:
    """Write, kill, start again, look; round after round. Also give how long each start took.

    Errors:  Wrong.
    """
    chance, replica = random.Random(seed_number), site.replicas[0]
    lanes = [Lane(number) for number in range(LANES)]
    started, turns = list[float](), itertools.count()
    for number in range(rounds):
        await _write_until(site, lanes, chance.uniform(0.1, 1.0), groups=next(turns) == 0)
        await asyncio.to_thread(replica.start)
        started.append(replica.started_seconds)
        await _look(site.directory, lanes)
        if (number + 1) % 10 == 0:
            answered = sum(lane.answered for lane in lanes)
            say(f"{number + 1} of {rounds} kills under admin writes, {answered} answers held")
    found = {
        "rounds": rounds,
        "changes answered": sum(lane.answered for lane in lanes),
        "lost": 0,
        "half done": 0,
        "start_ms": milliseconds(started),
    }
    return found, started


async def _write_until(site: Site, lanes: list[Lane], seconds: float, *, groups: bool) -> None:
    replica = site.replicas[0]
    tls = ssl.create_default_context(cafile=site.place.ca_file)
    headers = {"Authorization": f"Bearer {await _token(site)}"}
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        writer = Writer(session, str(replica.ready["admin"]))
        if groups:
            for lane in lanes:
                path = f"{resource_ids.group_id(SUB, lane.group)}?api-version=2021-04-01"
                await writer.send("PUT", path, {"location": "eastus"})
        writing = [asyncio.ensure_future(writer.write(lane)) for lane in lanes]
        await asyncio.sleep(seconds)
        await asyncio.to_thread(replica.kill)
        for ended in await asyncio.gather(*writing, return_exceptions=True):
            if not isinstance(ended, aiohttp.ClientError | OSError):
                assert isinstance(ended, BaseException)
                raise ended


async def _token(site: Site) -> str:
    async with Asker(site.replicas[0].url, site.place.ca_file) as asker:
        assertion = site.issuer.assertion("manager")
        scope = "https://management.azure.com/.default"
        answer = await asker.ask(form(people.ADMINISTRATOR, assertion, scope=scope))
    if not answer.token:
        raise Wrong(f"the administrator got no token: {answer.cause}")
    return answer.token


async def _look(directory: Directory, lanes: list[Lane]) -> None:
    audited: Counter[str] = Counter(
        entry.target.rpartition("/")[2].lower()
        for entry in await directory.audit.list(limit=100_000)
    )
    held = {one.principal_id for one in await directory.assignments.list()}
    known = {one.object_id for one in await directory.list_identities(TENANT.id)}
    if strays := held - known:
        raise Wrong(f"roles outlived their holders: {sorted(strays)[:3]}")
    for lane in lanes:
        seen: State = {}
        for one in await directory.identities.page(
            TENANT.id, group=resource_ids.group_id(SUB, lane.group), limit=10_000
        ):
            seen[one.name] = frozenset(each.name for each in one.credentials)
        if seen not in (lane.now, lane.next):
            differs = {name for name in {*seen, *lane.now} if seen.get(name) != lane.now.get(name)}
            raise Wrong(f"{lane.group} was answered {lane.answered} changes; {differs} differ")
        for name in seen:
            if not audited[name.lower()]:
                raise Wrong(f"the audit does not know of {name}")
        lane.now = lane.next = seen
