"""Explanations of AADSTS numbers: extraction from pasted text, and the error page."""

import ast
import json
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.crypto import jose
from podpass.exchange.errors import explanations
from podpass.exchange.errors.catalogue import ENTRA_ONLY_ROWS, TABLE
from podpass.exchange.errors.issuer_reasons import REASONS, describe_reason
from tests.exchange.world import Start, World

ROOT = Path(__file__).parents[3]
TRACE, CORRELATION = "11111111-1111-4111-8111-111111111111", "2" * 8 + "-1111-4111-8111-" + "2" * 12
TAIL = f"Trace ID: {TRACE} Correlation ID: {CORRELATION} Timestamp: 2024-01-14 20:29:53Z"
FACTS = {"trace_id": TRACE, "correlation_id": CORRELATION, "timestamp": "2024-01-14 20:29:53Z"}
SOURCES = (
    ROOT / "src/podpass/http/fetcher.py",
    *(ROOT / "src/podpass/exchange/client_auth").glob("issuer_*.py"),
)


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
def test_numbers_are_extracted_in_order(text: str, numbers: tuple[int, ...]) -> None:
    assert explanations.parse_error_text(text).numbers == numbers


def test_causes_and_resolutions_have_consistent_punctuation() -> None:
    for number in explanations.known_numbers():
        row = explanations.find_explanation(number)
        assert row is not None
        assert row.resolution[-1] not in ".?!;:", number
        assert not re.search(r"; [A-Z][a-z]", row.resolution + row.cause), number


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
def test_pasted_error_yields_its_ids_and_timestamp(text: str) -> None:
    found = explanations.parse_error_text(text)
    assert found.numbers == (700213,)
    assert found.facts == FACTS


@given(st.text(max_size=300))
def test_any_text_can_be_parsed(text: str) -> None:
    found = explanations.parse_error_text(text)
    assert len(found.numbers) <= explanations.MAX_CODES


def test_every_number_is_explained_once() -> None:
    elsewhere = {row.number for row in ENTRA_ONLY_ROWS}
    assert not elsewhere & set(TABLE)
    assert set(explanations.known_numbers()) == elsewhere | set(TABLE)
    for number in explanations.known_numbers():
        found = explanations.find_explanation(number)
        assert found is not None
        assert (found.cause.endswith("."), found.resolution.endswith(".")) == (True, False)
        assert bool(found.says) == bool(found.step) == (number in TABLE)


def test_every_missing_number_of_entra_is_explained_and_every_explained_one_is_listed() -> None:
    features = (ROOT / "tests/vectors/features.toml").read_text()
    [row] = re.findall(r'difference = "(.*) `podpass explain` explains them"', features)
    listed = {int(each) for each in re.findall(r"\b[0-9]{5,7}\b", row)}
    assert listed <= set(explanations.known_numbers())
    assert {each.number for each in ENTRA_ONLY_ROWS} <= listed


def test_unknown_number_has_similar_numbers() -> None:
    assert explanations.find_explanation(7002139) is None
    assert 7002138 in explanations.similar_numbers(7002139)
    assert explanations.similar_numbers(1) == ()


async def page(world: World, path: str, accept: str = "text/html") -> tuple[int, str, str]:
    async with world.session.get(world.url + path, headers={"Accept": accept}) as answer:
        policy = answer.headers.get("content-security-policy", "")
        return answer.status, await answer.text(), policy


async def test_error_uri_points_to_the_error_page(start: Start) -> None:
    world = await start()
    answer = await world.request_token(client_id=TRACE)
    where = urlsplit(answer.body["error_uri"])
    assert f"{where.scheme}://{where.netloc}" == "https://login.microsoftonline.com"
    status, text, policy = await page(world, f"{where.path}?{where.query}")
    assert status == 200
    assert "<h1>AADSTS700016</h1>" in text
    assert "Compare AZURE_CLIENT_ID" in text
    assert "<script" not in text
    assert "script-src 'none'" in policy
    assert "default-src 'none'" in policy


async def test_error_uri_uses_the_pages_origin(start: Start) -> None:
    origins = ("https://login.microsoftonline.com", "https://login.internal.test:8443")
    world = await start(origins=origins, pages_origin=origins[1])
    answer = await world.request_token(client_id=TRACE)
    assert answer.body["error_uri"] == f"{origins[1]}/error?code=700016"


async def test_error_page_is_json_on_request(world: World) -> None:
    status, text, _ = await page(world, "/error?code=AADSTS700213", "application/json")
    found = explanations.find_explanation(700213)
    assert found is not None
    assert status == 200
    assert json.loads(text) == {
        "code": 700213,
        "error": found.error,
        "status": 401,
        "step": "trust",
        "says": found.says,
        "cause": found.cause,
        "resolution": found.resolution,
    }


async def test_unknown_number_is_404_with_similar_numbers(world: World) -> None:
    status, text, _ = await page(world, "/error?code=7002139")
    assert status == 404
    assert "AADSTS7002138" in text
    status, text, _ = await page(world, "/error?code=7002139", "application/json")
    assert (status, json.loads(text)["nearest"][0]) == (404, 700213)


@pytest.mark.parametrize(
    "query",
    ["", "?code=", "?code=x", "?other=1", "?code=<script>alert(1)</script>", "?" + "a" * 5000],
)
async def test_error_page_shows_nothing_of_the_request(world: World, query: str) -> None:
    status, text, _ = await page(world, f"/error{quote(query, safe='?=&')}")
    assert status == 404
    assert "script" not in text
    assert "No number is given" in text
    async with world.session.post(f"{world.url}/error?code=1") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


# The reasons of AADSTS501661: one for each reason of the code, in the message and in the guide.


def _reasons(path: Path) -> set[str]:
    """Return the constant values of the keyword argument `reason`."""
    keywords = (
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.keyword)
    )
    return {
        str(each.value.value)
        for each in keywords
        if each.arg == "reason" and isinstance(each.value, ast.Constant)
    }


def test_every_reason_of_the_code_has_a_problem_and_a_resolution() -> None:
    used = {reason for path in SOURCES for reason in _reasons(path)} | {jose.BadKey.code}
    assert used == set(REASONS)
    for problem, resolution in REASONS.values():
        assert problem
        assert resolution


def test_message_names_problem_reason_and_resolution() -> None:
    assert describe_reason("jwks_origin") == (
        "the keys are on another origin than the issuer (jwks_origin); for the API server of a cluster, use"
        " `podpass authority --cluster-issuer`, or server: in the seed of `podpass up`; otherwise `podpass"
        " authority --jwks-origin`"
    )
    assert "(new_reason)" in describe_reason("new_reason")


def test_explanation_and_guide_have_every_reason() -> None:
    guide = (ROOT / "docs/operate/issuers.md").read_text()
    for reason, (_, resolution) in REASONS.items():
        assert f"`{reason}`: {resolution}" in TABLE[501661].resolution
        assert f"`{reason}`" in guide
