"""The pages of the console over HTTP."""

import html
import json

import pytest

from podpass.console import pages
from podpass.console.directory_view import _identity_row
from podpass.console.fixes import KnownObjects
from podpass.console.model import VIEWS, Listing
from podpass.console.timeline import Timeline
from podpass.errors import Error
from tests.console.consoles import BASE, GivenSource, RunningConsole, running_console
from tests.console.hops import CLIENT, exchange_facts, hop
from tests.diagnose.graph import samples


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("view", VIEWS)
async def test_view_without_data_shows_an_empty_state(
    console: RunningConsole, view: str, language: str
) -> None:
    page = "" if view == VIEWS[0] else view
    answer = await console.get(f"/{page}", **{"Accept-Language": language})
    assert answer.status == 200
    assert f'<html lang="{"zh-Hans" if language == "zh" else "en"}">' in answer.text
    assert 'class="empty"' in answer.text
    assert answer.text.count("<h1>") == 1
    assert answer.text.count('aria-current="page"') == 1


async def test_opened_exchange_shows_hops_and_claims(console: RunningConsole) -> None:
    about = {"namespace": "default", "account": "web", "pod": "p"}
    console.source.pending += [
        hop("admission", "mutated", **about),
        hop("exchange", "granted", token_sha256="abcdef012345", **exchange_facts()),
        hop("resource", "ok", uti="uti-1", vault="demo-vault"),
    ]
    page = await console.get("/exchanges")
    assert "default/web" in page.text
    assert "uses: 1" in page.text
    for path in ("/exchanges/1", "/exchanges/1/hops"):
        answer = await console.get(path)
        assert answer.status == 200
        assert "Claims of the access token" in answer.text
        assert "demo-vault" in answer.text
        assert "abcdef012345" not in answer.text
    assert "<html" in (await console.get("/exchanges/1")).text
    assert "<html" not in (await console.get("/exchanges/1/hops")).text


@pytest.mark.parametrize(
    "path",
    [
        "/exchanges/2",
        "/exchanges/2/hops",
        "/exchanges/-1",
        "/exchanges/x",
        "/exchanges/" + "9" * 99,
    ],
)
async def test_exchange_that_is_not_stored_is_404(console: RunningConsole, path: str) -> None:
    answer = await console.get(path)
    assert answer.status == 404
    assert "no longer stored" in answer.text


async def test_credential_without_a_subject_shows_its_expression(console: RunningConsole) -> None:
    expression = "claims['sub'] matches 'organization:contoso:*'"
    flexible = samples.credential("plans", subject="", expression=expression)
    row = _identity_row(samples.identity(credentials=(flexible,)), [])
    console.source.listings["identities"] = Listing(rows=[row])
    assert expression in html.unescape((await console.get("/identities")).text)


async def test_refusal_shows_cause_resolution_and_command(console: RunningConsole) -> None:
    console.source.timeline.add(
        hop("exchange", "AADSTS700213", cause="no match", **exchange_facts())
    )
    answer = await console.get("/refusals")
    assert "no match" in answer.text
    assert "az ad app federated-credential create" in answer.text
    assert "<strong>Resolution:</strong>" in answer.text


async def test_equal_refusals_are_one_entry_that_names_the_pods(console: RunningConsole) -> None:
    for at in range(3):
        facts = exchange_facts(token="", pod=f"p-{at}", time=f"2026-11-30T10:20:3{at}.000Z")
        console.source.timeline.add(hop("exchange", "AADSTS700213", **facts))
    console.source.timeline.add(hop("exchange", "AADSTS700213", **exchange_facts("other", "")))
    console.source.timeline.add(hop("exchange", "granted", **exchange_facts(pod="reader")))
    console.source.timeline.add(hop("resource", "forbidden", uti="uti-1", vault="v"))
    page = (await console.get("/refusals")).text
    assert page.count('class="row refusal"') == 3
    assert "(3 times since" in page
    assert ">2026-11-30 10:20:32</time>" in page
    for pod in ("p-0", "p-2", "reader"):
        assert f'<a href="{BASE}/exchanges?pod=default/{pod}">default/{pod}</a>' in page


async def test_exchanges_of_a_pod_are_shown_alone(console: RunningConsole) -> None:
    for name in ("first", "second"):
        facts = exchange_facts(token=name, pod=name)
        console.source.timeline.add(hop("exchange", "granted", **facts))
    page = (await console.get("/exchanges?pod=default/second")).text
    assert 'id="x-2"' in page
    assert 'id="x-1"' not in page
    assert "&amp;pod=default/second" in page


async def test_exchange_of_doctor_is_marked(console: RunningConsole) -> None:
    console.source.timeline.add(hop("exchange", "granted", **exchange_facts(by_doctor=True)))
    assert "check by podpass doctor" in (await console.get("/exchanges")).text


async def test_names_are_shown_after_guids(console: RunningConsole) -> None:
    console.source.known = KnownObjects(names={CLIENT: "web"})
    console.source.timeline.add(hop("exchange", "granted", **exchange_facts()))
    for path in ("/exchanges", "/exchanges/1"):
        assert f"{CLIENT} <small>(web)</small>" in (await console.get(path)).text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `podpass up`", "run <code>podpass up</code>"),
        ("run `podpass …", "run <code>podpass …</code>"),
        (f"of {CLIENT.upper()}", f"of {CLIENT.upper()} <small>(&lt;b&gt;)</small>"),
        (f"run `az --id {CLIENT}`", f"run <code>az --id {CLIENT}</code>"),
        (f"/applications/{CLIENT}", f"/applications/{CLIENT}"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
    ],
)
def test_text_has_code_and_names_without_backticks_or_markup(text: str, shown: str) -> None:
    assert str(pages.annotate(text, {CLIENT: "<b>"})) == shown


async def test_page_has_the_command_for_its_data(console: RunningConsole) -> None:
    assert "<code>podpass graph</code>" in (await console.get("/graph")).text


async def test_unavailable_data_is_reported_with_503() -> None:
    source = GivenSource(failure=Error("the API server does not respond"))
    async with running_console(source) as console:
        for view in ("pods", "identities", "audit"):
            answer = await console.get(f"/{view}")
            assert answer.status == 503
            assert "the API server does not respond" in answer.text


async def test_failed_session_check_gets_503_and_no_sign_in_form(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> bool:
        raise Error("the database is unavailable")

    monkeypatch.setattr(console.access, "is_signed_in", fail)
    for path in ("/", "/audit", "/events?view=loop"):
        answer = await console.get(path)
        assert answer.status == 503
        assert "the database is unavailable" in answer.text
        assert "content-security-policy" in answer.headers


async def test_bug_is_logged_and_its_response_has_no_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = GivenSource()
    source.listings["pods"] = Listing(rows=["a row that is no pod"])
    async with running_console(source) as console:
        answer = await console.get("/pods")
    assert (answer.status, "Undefined" in answer.text) == (500, False)
    assert "console_request_failed" in caplog.text


async def test_listing_reports_omitted_and_unreadable_entries(console: RunningConsole) -> None:
    console.source.listings["audit"] = Listing(rows=(), more=True, skipped=3)
    answer = await console.get("/audit")
    assert "There are more entries" in answer.text
    assert "3 entries cannot be read" in answer.text


async def test_language_is_stored_in_a_cookie(console: RunningConsole) -> None:
    answer = await console.post("/language", {"language": "zh", "back": f"{BASE}/pods"})
    assert (answer.status, answer.headers["location"]) == (303, f"{BASE}/pods")
    cookie = f"{console.cookie}; {answer.cookies[0].partition(';')[0]}"
    page = await console.send("GET", f"{BASE}/pods", {"Cookie": cookie, "Accept-Language": "en"})
    assert "准入" in page.text


async def test_head_has_no_body(console: RunningConsole) -> None:
    answer = await console.send("HEAD", f"{BASE}/", {"Cookie": console.cookie})
    assert (answer.status, answer.text) == (200, "")


async def test_view_without_data_is_neither_linked_nor_served() -> None:
    source = GivenSource(views=("loop", "exchanges", "audit"), timeline=Timeline())
    async with running_console(source) as console:
        assert "/pods" not in (await console.get("/")).text
        assert (await console.get("/pods")).status == 404
        assert (await console.get("/graph.svg")).status == 404


async def test_list_and_object_facts_of_a_hop_are_shown_as_text(console: RunningConsole) -> None:
    facts = exchange_facts(roles=["a", "b"], nested={"k": 1})
    console.source.timeline.add(hop("exchange", "granted", **facts))
    answer = await console.get("/exchanges/1/hops")
    assert "a, b" in answer.text
    assert json.dumps({"k": 1}).replace('"', "&#34;") in answer.text
