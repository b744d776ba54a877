"""The control API: its token, its limits, its responses."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from podpass.crypto.secret import Secret
from podpass.database import DatabaseFull
from podpass.errors import UsageError
from podpass.http.server import bind, serving
from podpass.lab.instance.control import MAX_SEED_BYTES, create_app

TOKEN = Secret("the-token-of-the-data-dir")
LINK = "http://127.0.0.1:1/open/code"
BEARER = {"Authorization": f"Bearer {TOKEN.reveal()}"}


class Recorder:
    """An instance that records the applied seeds."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, str]] = []

    def status(self) -> dict[str, Any]:
        return {"ready": True}

    async def apply(self, text: str, filename: str) -> list[str]:
        if text == "wrong":
            raise UsageError("seed.yaml:1: no such key", hint="remove it")
        if text == "full":
            raise DatabaseFull("the disk is full", cause="database or disk is full SQLITE_FULL")
        if text == "bug":
            raise KeyError("something secret")
        self.applied.append((text, filename))
        return ["identity web created"]

    async def identities(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"value": [{"name": "web"}], "after": query.get("after"), "damaged": []}

    async def audit(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {"value": [{"asked": dict(query)}], "damaged": []}


@pytest.fixture
def instance() -> Recorder:
    return Recorder()


async def find_no_damage() -> list[dict[str, str]]:
    return []


@dataclass
class Answer:
    """A complete response."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """A client that reads every response completely."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def send_request(self, verb: str, path: str, **how: Any) -> Answer:
        async with self._session.request(verb, path, **how) as answer:
            return Answer(answer.status, await answer.text())

    async def get(self, path: str, **how: Any) -> Answer:
        return await self.send_request("GET", path, **how)

    async def post(self, path: str, **how: Any) -> Answer:
        return await self.send_request("POST", path, **how)


@pytest.fixture
async def client(instance: Recorder) -> AsyncIterator[Client]:
    sock = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with (
        serving(create_app(instance, TOKEN, lambda: LINK, find_damaged=find_no_damage), sock),
        ClientSession(url) as session,
    ):
        yield Client(session)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN.reveal()}x"},
        {"Authorization": f"Basic {TOKEN.reveal()}"},
        {"Authorization": TOKEN.reveal()},
    ],
)
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/status"),
        ("POST", "/apply"),
        ("GET", "/identities"),
        ("GET", "/audit"),
        ("POST", "/console/links"),
    ],
)
async def test_request_without_the_token_is_refused_with_401(
    client: Client, instance: Recorder, verb: str, path: str, headers: dict[str, str]
) -> None:
    """Every local process can connect to loopback; only the owner can read the token."""
    answer = await client.send_request(verb, path, headers=headers)
    assert answer.status == 401
    assert answer.json["error"]["code"] == "control_unauthorized"
    assert not instance.applied


async def test_health_needs_no_token(client: Client) -> None:
    answer = await client.get("/healthz")
    assert (answer.status, answer.text) == (200, "ok\n")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/status", {"ready": True, "damaged": []}),
        ("/identities", {"value": [{"name": "web"}], "after": None, "damaged": []}),
        ("/identities?after=x", {"value": [{"name": "web"}], "after": "x", "damaged": []}),
        (
            "/audit?limit=3&who=me",
            {"value": [{"asked": {"limit": "3", "who": "me"}}], "damaged": []},
        ),
    ],
)
async def test_request_with_the_token_succeeds(
    client: Client, path: str, expected: dict[str, Any]
) -> None:
    answer = await client.get(path, headers=BEARER)
    assert (answer.status, answer.json) == (200, expected)


async def test_seed_is_applied_with_the_name_of_its_file(
    client: Client, instance: Recorder
) -> None:
    answer = await client.post("/apply?filename=a%20b.yaml", data="ä: 1", headers=BEARER)
    assert answer.json == {"changed": ["identity web created"]}
    assert instance.applied == [("ä: 1", "a b.yaml")]


async def test_link_of_the_console_is_created_by_post_only(client: Client) -> None:
    answer = await client.post("/console/links", headers=BEARER)
    assert (answer.status, answer.json) == (200, {"link": LINK})
    assert (await client.get("/console/links", headers=BEARER)).status == 405


async def test_refusal_contains_message_and_hint(client: Client) -> None:
    answer = await client.post("/apply", data="wrong", headers=BEARER)
    assert answer.status == 400
    assert answer.json["error"] == {
        "code": "usage",
        "message": "seed.yaml:1: no such key",
        "hint": "remove it",
    }


async def test_full_disk_is_reported_and_logged_with_its_cause(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.post("/apply", headers=BEARER, data="full")
    assert (answer.status, answer.json["error"]["message"]) == (507, "the disk is full")
    assert "free space" in answer.json["error"]["hint"]
    [line] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "SQLITE_FULL" in vars(line)["cause"]


async def test_response_to_an_unexpected_exception_contains_no_details(client: Client) -> None:
    answer = await client.post("/apply", data="bug", headers=BEARER)
    assert answer.status == 500
    assert "secret" not in answer.text


async def test_too_large_seed_is_refused_with_413(client: Client, instance: Recorder) -> None:
    answer = await client.post(
        "/apply", data=io.BytesIO(b"x" * (MAX_SEED_BYTES + 1)), headers=BEARER
    )
    assert (answer.status, instance.applied) == (413, [])


async def test_seed_that_is_not_utf8_is_refused(client: Client) -> None:
    answer = await client.post("/apply", data=b"\xff\xfe", headers=BEARER)
    assert answer.json["error"]["hint"] == "save the file as UTF-8"
    assert answer.status == 400


async def test_other_methods_and_paths_are_refused(client: Client) -> None:
    assert (await client.post("/status", headers=BEARER)).status == 405
    assert (await client.get("/nothing", headers=BEARER)).status == 404
