"""What a number means: picked out of any text an error is pasted as, told on the page that it links to."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.exchange.errors import explain
from podpass.exchange.errors.catalogue import TABLE
from podpass.exchange.errors.other_errors import ELSEWHERE_ROWS

if TYPE_CHECKING:
    from tests.exchange.conftest import Start
    from tests.exchange.world import World

ROOT = Path(__file__).parents[3]
TRACE, CORRELATION = "11111111-1111-4111-8111-111111111111", "2" * 8 + "-1111-4111-8111-" + "2" * 12
TAIL = f"Trace ID: {TRACE} Correlation ID: {CORRELATION} Timestamp: 2024-01-14 20:29:53Z"
FACTS = {"trace_id": TRACE, "correlation_id": CORRELATION, "timestamp": "2024-01-14 20:29:53Z"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("700213", (700213,)),
        ("AADSTS700213", (700213,)),
        ("aadsts700213:", (700213,)),
        ("AADSTS 700213", (700213,)),
        ("700213 AADSTS700016", (700213, 700016)),
        ("aadsts50034 90033", (50034, 90033)),
        ("700213 AADSTS1", (700213, 1)),
        ("AADSTS700016: no client 700213", (700016,)),
        ("700213, 700016", (700213, 700016)),
        ("AADSTS700016 and AADSTS700213, AADSTS700016 again", (700016, 700213)),
        ("nothing", ()),
        ("", ()),
        ("HTTP 401 of 2024", ()),
        ("port 8443", ()),
    ],
)
def test_numbers_are_picked_out_in_their_order(text: str, numbers: tuple[int, ...]) -> None:
    assert explain.read(text).numbers == numbers


def test_sentences_can_be_ended_and_joined_as_they_are() -> None:
    for number in explain.known():
        row = explain.find(number)
        assert row is not None
        assert row.cure[-1] not in ".?!;:", number
        assert not re.search(r"; [A-Z][a-z]", row.cure + row.meaning), number


@pytest.mark.parametrize(
    "text",
    [
        f"ClientAuthenticationError: (invalid_client) AADSTS700213: No record. {TAIL}",
        f"AADSTS700213: No record.\r\n{TAIL.replace(' C', chr(13) + chr(10) + 'C')}",
        json.dumps(
            {
                "error": "invalid_client",
                "error_codes": [700213],
                "trace_id": TRACE,
                "correlation_id": CORRELATION,
                "timestamp": FACTS["timestamp"],
            }
        ),
        json.dumps(json.dumps({"error_codes": [700213], "error_description": TAIL})),
        f"700213 - [{FACTS['timestamp']}]: AADSTS700213: x {TAIL}",
    ],
)
def test_a_pasted_error_gives_its_ids_and_its_time(text: str) -> None:
    found = explain.read(text)
    assert found.numbers == (700213,)
    assert found.facts == FACTS


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    found = explain.read(text)
    assert len(found.numbers) <= explain.MAX_CODES


def test_every_number_is_explained_and_none_twice() -> None:
    elsewhere = {row.number for row in ELSEWHERE_ROWS}
    assert not elsewhere & set(TABLE)
    assert set(explain.known()) == elsewhere | set(TABLE)
    for number in explain.known():
        found = explain.find(number)
        assert found is not None
        assert (found.meaning.endswith("."), found.cure.endswith(".")) == (True, False)
        assert bool(found.says) == bool(found.step) == (number in TABLE)


def test_what_only_entra_answers_is_admitted_in_the_table_of_parity() -> None:
    """Fails when a number of Entra's is known, never answered here, and nobody says so."""
    page = (ROOT / "docs" / "parity.md").read_text()
    told = {int(each) for each in re.findall(r"\b[0-9]{5,7}\b", page)}
    assert {row.number for row in ELSEWHERE_ROWS} <= told


def test_an_unknown_number_has_neighbours() -> None:
    assert explain.find(7002139) is None
    assert 7002138 in explain.nearest(7002139)
    assert explain.nearest(1) == ()


async def page(world: "World", path: str, accept: str = "text/html") -> tuple[int, str, str]:
    async with world.session.get(world.url + path, headers={"Accept": accept}) as answer:
        policy = answer.headers.get("content-security-policy", "")
        return answer.status, await answer.text(), policy


async def test_the_address_in_an_error_leads_to_its_page(start: "Start") -> None:
    world = await start()
    answer = await world.ask(client_id=TRACE)
    where = urlsplit(answer.body["error_uri"])
    assert f"{where.scheme}://{where.netloc}" == "https://login.microsoftonline.com"
    status, text, policy = await page(world, f"{where.path}?{where.query}")
    assert status == 200
    assert "<h1>AADSTS700016</h1>" in text
    assert "Compare AZURE_CLIENT_ID" in text
    assert "<script" not in text
    assert "script-src 'none'" in policy
    assert "default-src 'none'" in policy


async def test_the_address_is_one_where_browsers_reach_us(start: "Start") -> None:
    origins = ("https://login.microsoftonline.com", "https://login.internal.test:8443")
    world = await start(origins=origins, pages_origin=origins[1])
    answer = await world.ask(client_id=TRACE)
    assert answer.body["error_uri"] == f"{origins[1]}/error?code=700016"


async def test_a_program_gets_the_same_as_json(world: "World") -> None:
    status, text, _ = await page(world, "/error?code=AADSTS700213", "application/json")
    found = explain.find(700213)
    assert found is not None
    assert status == 200
    assert json.loads(text) == {
        "code": 700213,
        "error": found.error,
        "status": 401,
        "step": "trust",
        "says": found.says,
        "meaning": found.meaning,
        "cure": found.cure,
    }


async def test_an_unknown_number_is_not_found_and_named_with_its_neighbours(
    world: "World",
) -> None:
    status, text, _ = await page(world, "/error?code=7002139")
    assert status == 404
    assert "AADSTS7002138" in text
    status, text, _ = await page(world, "/error?code=7002139", "application/json")
    assert (status, json.loads(text)["nearest"][0]) == (404, 700213)


@pytest.mark.parametrize(
    "query",
    ["", "?code=", "?code=x", "?other=1", "?code=<script>alert(1)</script>", "?" + "a" * 5000],
)
async def test_nothing_of_the_request_is_shown(world: "World", query: str) -> None:
    status, text, _ = await page(world, f"/error{quote(query, safe='?=&')}")
    assert status == 404
    assert "script" not in text
    assert "No number is given" in text
    async with world.session.post(f"{world.url}/error?code=1") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
