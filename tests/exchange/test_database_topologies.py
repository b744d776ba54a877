"""Two replicas of the token service on PostgreSQL as organisations run it: a standby, a pooler."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGKILL

import pytest
import trustme

from podpass.crypto import jose
from podpass.database import Database
from podpass.directory.model import PasswordCredential
from podpass.directory.store.directory import Directory
from tests import postgres
from tests.servers.authority.running import CLIENT, TENANT, Answer, Authority, add_test_data
from tests.waiting import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]


@dataclass
class Exchanges:
    """Sends token requests to both replicas on open connections, until it is stopped.

    `refused` has the time and the answer of each request that got no token.
    """

    replicas: list[Authority]
    granted: Counter[int] = field(default_factory=Counter)
    refused: list[tuple[float, Answer]] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Exchanges":
        self._threads = [
            threading.Thread(target=self._run, args=(number,))
            for number in range(len(self.replicas))
            for _ in range(2)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        replica = self.replicas[number]
        with closing(replica.connect()) as connection:
            while not self._stop.is_set():
                answer = replica.request_token(connection)
                if answer.status != 200:
                    self.refused.append((time.monotonic(), answer))
                    self._stop.wait(0.05)
                elif jose.parse(answer.body["access_token"]).claims["appid"] != CLIENT:
                    self.wrong.append(answer.body)
                else:
                    self.granted[number] += 1

    def wait_for_more(self, count: int = 50) -> None:
        """Wait until each replica has granted `count` more requests."""
        before = Counter(self.granted)
        wait_until(
            lambda: all(
                self.granted[each] >= before[each] + count for each in range(len(self.replicas))
            )
        )


def wait_for_status(replicas: list[Authority], status: int) -> None:
    wait_until(lambda: all(one.request_token().status == status for one in replicas), seconds=5)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start_replicas(stack: ExitStack, folder: Path, url: str) -> list[Authority]:
    """Start two replicas that share a database, a certificate and a sealing key."""
    replicas = [Authority(folder=folder, ca=trustme.CA())]
    replicas.append(Authority(folder=folder, ca=replicas[0].ca))
    replicas[0].write_certificate()
    asyncio.run(add_test_data(url))
    for replica in replicas:
        stack.callback(replica.stop, SIGKILL)
        replica.start(database=url, workers=1)
    return replicas


async def replace_passwords(
    url: str, passwords: tuple[PasswordCredential, ...]
) -> tuple[PasswordCredential, ...]:
    """Replace the secrets of the application, as an administrator does; return the old ones."""
    async with Database(url) as database, Directory(database) as directory:
        found = await directory.find_identity(TENANT, CLIENT)
        assert found is not None
        await directory.identities.put(replace(found, passwords=passwords))
        return found.passwords


def test_promoted_standby_serves_after_the_primary_was_killed_under_load(
    stack: ExitStack, tmp_path: Path
) -> None:
    primary = stack.enter_context(postgres.running())
    standby = stack.enter_context(postgres.standby(primary))
    replicas = start_replicas(stack, tmp_path, postgres.several(primary, standby))
    with Exchanges(replicas) as load:
        load.wait_for_more()
        assert load.refused == []
        killed = time.monotonic()
        primary.kill()
        wait_until(lambda: len(load.refused) > 10)
        standby.execute("SELECT pg_promote(true, 20)")
        promoted = time.monotonic()
        load.wait_for_more(200)
    assert load.wrong == []
    for at, answer in load.refused:
        assert (answer.status, answer.body["error_codes"]) == (503, [90033])
        assert "retry-after" in answer.headers
        assert killed < at < promoted + 10.0
    for replica in replicas:
        assert replica.get("/readyz").status == 200


def test_replicas_behind_a_pooler_serve_and_notice_a_withdrawn_secret(
    stack: ExitStack, tmp_path: Path
) -> None:
    server = stack.enter_context(postgres.running())
    url = stack.enter_context(postgres.pooler(server)).url("postgres")
    replicas = start_replicas(stack, tmp_path, url)
    with Exchanges(replicas) as load:
        load.wait_for_more(200)
        assert load.refused == []
        passwords = asyncio.run(replace_passwords(url, ()))
        # Each replica has cached the secret. It cannot know of the change until a message arrives.
        wait_for_status(replicas, 401)
        refused = len(load.refused)
        wait_until(lambda: len(load.refused) > refused + 20)
        assert {code for _, answer in load.refused for code in answer.body["error_codes"]} == {
            7000215
        }
        asyncio.run(replace_passwords(url, passwords))
        wait_for_status(replicas, 200)
        load.wait_for_more(200)
    assert load.wrong == []
