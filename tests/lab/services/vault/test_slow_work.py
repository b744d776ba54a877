"""How callers share the slow work of the vaults."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.http.shares import ShareExceeded, Shares
from podpass.lab.services.vault.errors import Throttled
from podpass.lab.services.vault.model import KEYS
from podpass.lab.services.vault.request import VaultRequest
from podpass.lab.services.vault.slow_work import FairSlots, WorkLimits

Make = Callable[..., VaultRequest]


@pytest.fixture
def limits() -> WorkLimits:
    return WorkLimits()


@pytest.fixture
def request_of(world: Any, limits: WorkLimits) -> Make:
    """Return a function that makes a request of a principal."""

    def make(principal: str) -> VaultRequest:
        return VaultRequest(
            store=world.store,
            vault=world.vault_of("demo-vault"),
            kind=KEYS,
            base="https://demo-vault.vault.azure.net",
            name="k",
            version="",
            query={},
            body=b"",
            now=0,
            action="",
            principal=principal,
            limits=limits,
        )

    return make


async def test_computation_beyond_the_share_of_a_caller_is_throttled(
    request_of: Make, limits: WorkLimits
) -> None:
    limits.computing = Shares("computing time", 2)
    request = request_of("caller")
    with limits.computing.hold("caller"), pytest.raises(Throttled) as caught:
        await request.compute(lambda: None)
    assert (caught.value.status, caught.value.wire_code) == (429, "Throttled")
    assert await request.compute(lambda: 5) == 5


async def test_turn_beyond_the_share_of_a_caller_is_throttled(
    request_of: Make, limits: WorkLimits
) -> None:
    limits.generation = FairSlots("key generation", 1, waiting=2)
    request = request_of("caller")
    async with limits.generation.take("caller"):
        with pytest.raises(Throttled, match="key generation"):
            await request.generate(lambda: None)
    assert await request.generate(lambda: 5) == 5


async def test_caller_waits_for_one_piece_of_work_of_another_caller() -> None:
    """An attack: many slow requests, behind which those of all other callers would wait."""
    slots, order = FairSlots("imports", 1), []

    async def work(principal: str) -> None:
        async with slots.take(principal):
            order.append(principal)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(work("evil"))
        await asyncio.sleep(0)
        group.create_task(work("good"))
    assert order.index("good") <= 2
    assert order.count("evil") == 10


@pytest.mark.parametrize(("limit", "slots"), [("generation", 3), ("imports", 2), ("backups", 1)])
async def test_slots_run_work_of_several_callers_but_one_of_each(
    monkeypatch: pytest.MonkeyPatch, limit: str, slots: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    limited: FairSlots = getattr(WorkLimits(), limit)
    running: list[str] = []
    most: list[tuple[str, ...]] = []

    async def work(principal: str) -> None:
        async with limited.take(principal):
            running.append(principal)
            most.append(tuple(sorted(running)))
            await asyncio.sleep(0)
            running.remove(principal)

    await asyncio.gather(*(work(each) for each in "aaabbbcccddd"))
    assert max(map(len, most)) == slots
    assert all(len(set(each)) == len(each) for each in most)
    with pytest.raises(ShareExceeded):
        async with FairSlots("imports", 2, waiting=0).take("a"):
            raise AssertionError


async def test_slow_keys_of_a_caller_do_not_delay_a_signature_of_another(
    request_of: Make,
) -> None:
    """Without slots, the keys would take all threads of the event loop."""
    wait = threading.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(request_of("evil").generate(wait.wait, 60))
        await asyncio.sleep(0)
        assert await request_of("good").compute(lambda: 5) == 5
        assert not wait.is_set()
        wait.set()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keys/rsa/create", {"kty": "RSA", "key_size": 4096}),
        ("/keys/existing/rotate", {}),
        (
            "/certificates/c/create",
            {
                "policy": {
                    "issuer": {"name": "Self"},
                    "x509_props": {"subject": "CN=c"},
                    "key_props": {"kty": "RSA", "key_size": 4096},
                }
            },
        ),
        ("/certificates/issuers/i", {"provider": "podpass"}),
    ],
)
async def test_request_is_answered_while_an_rsa_key_is_generated(
    world: Any, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    token = world.authority.mint(await world.identity("admin", "Key Vault Administrator"))

    async def send(method: str, path: str, body: dict[str, Any] | None = None) -> int:
        status, _, _ = await world.send(method, f"{path}?api-version=7.6", token=token, body=body)
        return int(status)

    assert await send("POST", "/keys/existing/create", {"kty": "RSA"}) == 200
    started, answered, generate = threading.Event(), threading.Event(), rsa.generate_private_key
    was_answered: list[bool] = []

    def generate_after_the_answer(exponent: int, size: int) -> rsa.RSAPrivateKey:
        started.set()
        was_answered.append(answered.wait(20))
        return generate(exponent, size)

    monkeypatch.setattr(rsa, "generate_private_key", generate_after_the_answer)
    async with asyncio.TaskGroup() as group:
        method = "PUT" if "issuers" in path else "POST"
        created = group.create_task(send(method, path, body))
        assert await asyncio.to_thread(started.wait, 20)
        assert await send("GET", "/keys/existing") == 200
        answered.set()
    assert created.result() in {200, 202}
    assert was_answered == [True]


@pytest.mark.parametrize(
    ("limit", "method", "path"),
    [
        ("generation", "POST", "/keys/k/create"),
        ("imports", "POST", "/certificates/c/import"),
        ("backups", "POST", "/secrets/s/backup"),
        ("backups", "POST", "/secrets/restore"),
    ],
)
async def test_slow_operation_waits_for_its_turn(
    world: Any, monkeypatch: pytest.MonkeyPatch, limit: str, method: str, path: str
) -> None:
    admin = await world.identity("admin", "Key Vault Administrator")
    taken: list[str] = []

    class Full(FairSlots):
        def take(self, principal: str) -> Any:
            taken.append(principal)
            raise ShareExceeded(f"{principal} has used its share", source=principal)

    monkeypatch.setattr(world.limits, limit, Full("x", 1))
    body = {"kty": "RSA", "value": "AAAA"}
    token = world.authority.mint(admin)
    status, answer, headers = await world.send(
        method, f"{path}?api-version=7.6", token=token, body=body
    )
    assert (status, answer["error"]["code"]) == (429, "Throttled")
    assert int(headers["Retry-After"]) > 0
    assert taken == [admin.object_id]
