"""kill -9 of `podpass authority` during writes to its admin APIs: every acknowledged change is stored.

Each lane sends Resource Manager requests one by one: it creates identities, credentials and a role
assignment, and deletes them. After a kill the directory holds the acknowledged changes, or one change more,
with audit entries.
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

from podpass.directory import resource_ids
from podpass.directory.store.directory import Directory
from podpass.kubernetes.service_account.names import subject
from tests.soak import identities
from tests.soak.lane import SUB, TENANT
from tests.soak.replica import run_podpass
from tests.soak.report import Violation, log_progress, milliseconds
from tests.soak.testbed import Testbed
from tests.soak.token_client import TokenClient, token_form

LANES = 4
FLAGS = (*("--admin-listen", "127.0.0.1:0", "--tenant-id", TENANT.id), *("--subscription-id", SUB))
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_IDENTITY = "?api-version=2023-01-31"
_ROLE = "?api-version=2022-04-01"
_DONE = (200, 201, 202, 204)
State = dict[str, frozenset[str]]


def seed_administrator(testbed: Testbed) -> None:
    """Create the administrator with a seed file, as an operator does."""
    account = "manager"
    file = testbed.config.folder / "seed.yaml"
    file.write_text(
        f"""administrators: [{account}]
identities:
  - name: {account}
    client_id: {identities.ADMINISTRATOR}
    federated_credentials:
      - name: {account}
        issuer: {testbed.issuer.url()}
        subject: {subject("default", account)}
"""
    )
    where = [
        *("--database", testbed.config.database, "--tenant-id", TENANT.id),
        *("--subscription-id", SUB),
    ]
    run_podpass("authority", "seed", "-f", str(file), *where)


@dataclass
class AdminLane:
    """The state that one lane must have left in the directory.

    A state maps identity names to credential names; `pending` is the state if the request in flight was
    applied too.
    """

    number: int
    acknowledged: State = field(default_factory=dict)
    pending: State = field(default_factory=dict)
    iteration: int = 0
    answered: int = 0

    @property
    def group(self) -> str:
        return f"admin-{self.number}"


class AdminWriter:
    """Sends requests to the admin APIs with a token of the same authority."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request and return the response body.

        Raises Violation for an error status; aiohttp's errors if the service does not respond.
        """
        async with self._session.request(method, self._url + path, json=body) as answered:
            found = await answered.json(content_type=None) if answered.status != 204 else {}
            if answered.status not in _DONE:
                raise Violation(f"{method} {path} returned {answered.status}: {str(found)[:300]}")
            return dict(found or {})

    async def write(self, lane: AdminLane) -> None:
        """Repeat the lane's script until the service does not respond."""
        while True:
            lane.iteration += 1
            await self._run_script(lane, f"id{lane.iteration}-lane{lane.number}")

    async def _run_script(self, lane: AdminLane, name: str) -> None:
        place = resource_ids.identity_id(SUB, lane.group, name)
        made = await self._send_step(
            lane, name, frozenset(), "PUT", place + _IDENTITY, {"location": "eastus"}
        )
        for held in (["one"], ["one", "two"]):
            path = f"{place}/federatedIdentityCredentials/{held[-1]}{_IDENTITY}"
            trust = {"issuer": "https://issuer.test/", "subject": held[-1], "audiences": ["a"]}
            await self._send_step(lane, name, frozenset(held), "PUT", path, {"properties": trust})
        given = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}",
            "principalId": made["properties"]["principalId"],
            "principalType": "ServicePrincipal",
        }
        role = f"{place}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}{_ROLE}"
        await self._send_step(
            lane, name, lane.acknowledged[name], "PUT", role, {"properties": given}
        )
        path = f"{place}/federatedIdentityCredentials/one{_IDENTITY}"
        await self._send_step(lane, name, frozenset(["two"]), "DELETE", path)
        if lane.iteration % 2:
            await self._send_step(lane, name, None, "DELETE", place + _IDENTITY)

    async def _send_step(
        self,
        lane: AdminLane,
        name: str,
        then: frozenset[str] | None,
        method: str,
        path: str,
        body: Any = None,
    ) -> dict[str, Any]:
        lane.pending = {**lane.acknowledged}
        if then is None:
            del lane.pending[name]
        else:
            lane.pending[name] = then
        found = await self.send(method, path, body)
        lane.acknowledged = lane.pending
        lane.answered += 1
        return found


async def admin_kills(
    testbed: Testbed, rounds: int, seed_number: int
) -> tuple[dict[str, Any], list[float]]:
    """Repeat rounds of writing, a kill, a restart and a check; return a report and the start times.

    Units: seconds. Raises Violation.
    """
    chance, replica = random.Random(seed_number), testbed.replicas[0]
    lanes = [AdminLane(number) for number in range(LANES)]
    started, turns = list[float](), itertools.count()
    for number in range(rounds):
        await _write_until(testbed, lanes, chance.uniform(0.1, 1.0), groups=next(turns) == 0)
        await asyncio.to_thread(replica.start)
        started.append(replica.started_seconds)
        await _check_directory(testbed.directory, lanes)
        if (number + 1) % 10 == 0:
            answered = sum(lane.answered for lane in lanes)
            log_progress(
                f"{number + 1} of {rounds} kills under admin writes, {answered} changes stored"
            )
    found = {
        "rounds": rounds,
        "changes answered": sum(lane.answered for lane in lanes),
        "lost": 0,
        "half done": 0,
        "start_ms": milliseconds(started),
    }
    return found, started


async def _write_until(
    testbed: Testbed, lanes: list[AdminLane], seconds: float, *, groups: bool
) -> None:
    replica = testbed.replicas[0]
    tls = ssl.create_default_context(cafile=testbed.config.ca_file)
    headers = {"Authorization": f"Bearer {await _token(testbed)}"}
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        writer = AdminWriter(session, str(replica.ready["admin"]))
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


async def _token(testbed: Testbed) -> str:
    async with TokenClient(testbed.replicas[0].url, testbed.config.ca_file) as client:
        assertion = testbed.issuer.assertion("manager")
        scope = "https://management.azure.com/.default"
        answer = await client.request_token(
            token_form(identities.ADMINISTRATOR, assertion, scope=scope)
        )
    if not answer.token:
        raise Violation(f"the administrator received no token: {answer.cause}")
    return answer.token


async def _check_directory(directory: Directory, lanes: list[AdminLane]) -> None:
    audited: Counter[str] = Counter(
        entry.target.rpartition("/")[2].lower()
        for entry in await directory.audit.list(limit=100_000)
    )
    held = {one.principal_id for one in await directory.assignments.list()}
    known = {one.object_id for one in await directory.list_identities(TENANT.id)}
    if orphans := held - known:
        raise Violation(f"role assignments of deleted identities: {sorted(orphans)[:3]}")
    for lane in lanes:
        seen: State = {}
        for one in await directory.identities.page(
            TENANT.id, group=resource_ids.group_id(SUB, lane.group), limit=10_000
        ):
            seen[one.name] = frozenset(each.name for each in one.credentials)
        if seen not in (lane.acknowledged, lane.pending):
            differs = {
                name
                for name in {*seen, *lane.acknowledged}
                if seen.get(name) != lane.acknowledged.get(name)
            }
            raise Violation(f"{lane.group}: {lane.answered} changes acknowledged; {differs} differ")
        for name in seen:
            if not audited[name.lower()]:
                raise Violation(f"there is no audit entry for {name}")
        lane.acknowledged = lane.pending = seen
