"""Attacks on the console: other hosts, other origins, other cookies, used links, hostile names."""

from html.parser import HTMLParser

import pytest

from podpass.console import access
from podpass.console.fixes import KnownObjects
from podpass.console.model import VIEWS, Listing, TrustGraphView
from podpass.console.pod_view import describe
from podpass.console.sessions import LINK_SECONDS, SESSION_SECONDS
from tests.console.consoles import BASE, GivenSource, RunningConsole, running_console
from tests.console.hops import CLIENT, exchange_facts, hop

PAGES = ["", "exchanges", "exchanges/1", "exchanges/1/hops", "refusals", "pods", "identities"]
PAGES += ["graph", "graph.svg", "audit", "events", "static/console.js", "static/htmx.min.js"]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\u202e'


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("page", PAGES)
async def test_page_without_a_valid_cookie_gets_401(console: RunningConsole, page: str) -> None:
    for headers in ({}, {"Cookie": "podpass-console=guess"}, {"Cookie": f"x={console.cookie}"}):
        answer = await console.send("GET", f"{BASE}/{page}", headers)
        assert (answer.status, answer.cookies) == (401, [])
        assert answer.text == access.NO_SESSION


async def test_path_outside_the_console_without_a_cookie_gets_401(console: RunningConsole) -> None:
    for path in ("/", "/favicon.ico", f"{BASE}", "/open", "/metrics"):
        assert (await console.send("GET", path)).status == 401, path


async def test_two_cookies_of_the_name_are_refused(console: RunningConsole) -> None:
    for other in (f"{console.cookie}; podpass-console=x", f"podpass-console=x; {console.cookie}"):
        assert (await console.send("GET", f"{BASE}/", {"Cookie": other})).status == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "[::1]", ""]
)
async def test_other_host_names_are_refused(console: RunningConsole, host: str) -> None:
    """DNS rebinding: a name of another site resolves to 127.0.0.1, and the browser sends that name."""
    link = console.access.create_link()
    for path in (f"{BASE}/", f"{BASE}/events", link):
        answer = await console.send("GET", path, {"Host": host, "Cookie": console.cookie})
        assert answer.status == 421, path
    assert (await console.send("GET", link)).status == 200


async def test_localhost_is_accepted(console: RunningConsole) -> None:
    answer = await console.get("/", Host=f"localhost:{console.port}")
    assert answer.status == 200


@pytest.mark.parametrize(
    "origin",
    ["", "null", "https://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "https://own"],
)
async def test_post_of_another_origin_is_refused(console: RunningConsole, origin: str) -> None:
    headers = {"Cookie": console.cookie}
    if origin:
        headers["Origin"] = origin.replace("https://own", f"https://127.0.0.1:{console.port}")
    for form in ("language", "sign-out"):
        answer = await console.send(
            "POST", f"{BASE}/{form}", headers, data={"language": "zh", "back": ""}
        )
        assert (answer.status, answer.cookies) == (403, [])
    assert (await console.get("/")).status == 200


async def test_request_of_another_site_is_refused(console: RunningConsole) -> None:
    """Also those of other ports of this host, which send the cookie."""
    for site in ("cross-site", "same-site"):
        answer = await console.get("/events", **{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"})
        assert answer.status == 403
        navigation = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert (await console.get("/", **navigation)).status == 200


async def test_get_request_to_a_form_path_is_404_and_changes_nothing(
    console: RunningConsole,
) -> None:
    for form in ("language", "sign-out"):
        answer = await console.get(f"/{form}?language=zh")
        assert (answer.status, answer.cookies) == (404, [])
    assert (await console.get("/")).status == 200


async def test_other_methods_are_refused(console: RunningConsole) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = await console.send(method, f"{BASE}/", {"Cookie": console.cookie})
        assert answer.status == 405, method
    assert (await console.post("/pods")).status == 405


async def test_second_request_to_a_sign_in_link_is_refused(console: RunningConsole) -> None:
    link = console.access.create_link()
    first, second = [await console.send("GET", link) for _ in range(2)]
    assert (first.status, second.status) == (200, 403)
    assert second.cookies == []
    assert "podpass console" in second.text


async def test_prefetch_and_head_and_post_do_not_use_up_a_link(console: RunningConsole) -> None:
    link = console.access.create_link()
    early = [
        await console.send("GET", link, {"Sec-Purpose": "prefetch;prerender"}),
        await console.send("HEAD", link),
        await console.send("POST", link, {"Origin": console.origin}),
    ]
    assert [(each.status, each.cookies) for each in early] == [(403, [])] * 3
    assert (await console.send("GET", link)).status == 200


async def test_link_and_session_expire() -> None:
    time = Time()
    async with running_console(clock=time) as console:
        early, late = (console.access.create_link() for _ in range(2))
        time.now += LINK_SECONDS - 1
        assert (await console.send("GET", early)).status == 200
        time.now += 1
        assert (await console.send("GET", late)).status == 403
        time.now += SESSION_SECONDS - LINK_SECONDS - 1
        assert (await console.get("/")).status == 200
        time.now += 1
        assert (await console.get("/")).status == 401


async def test_cookie_is_hidden_from_scripts_other_sites_and_other_ports(
    console: RunningConsole,
) -> None:
    """Browsers send a cookie to all ports of a host, but only to its path, which cannot be guessed."""
    answer = await console.send("GET", console.access.create_link())
    [cookie] = answer.cookies
    attributes = {each.strip().lower() for each in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", f"path={BASE}/"} <= attributes
    assert not any(each.startswith("domain") for each in attributes)


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/x", "a\r\nx: y", ""])
async def test_language_switch_leads_only_to_own_pages(console: RunningConsole, back: str) -> None:
    answer = await console.post("/language", {"language": "zh", "back": back})
    assert (answer.status, answer.headers["location"]) == (303, f"{BASE}/")
    assert "x" not in answer.headers


async def test_form_that_is_too_long_is_refused(console: RunningConsole) -> None:
    assert (await console.post("/language", {"language": "z" * 5000})).status == 413
    assert (await console.post("/language", {"language": "xx"})).status == 400


async def test_every_response_has_the_strict_content_security_policy(
    console: RunningConsole,
) -> None:
    console.source.timeline.add(hop("exchange", **exchange_facts()))
    answers = [
        await console.get(f"/{page}") for page in PAGES if page not in ("events", "graph.svg")
    ]
    answers += [await console.send("GET", "/"), await console.send("GET", "/open/x")]
    answers += [await console.get("/nothing"), await console.post("/sign-out")]
    for answer in answers:
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {
            "'self'"
        }
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


class Elements(HTMLParser):
    """The elements, attributes and texts of a page, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.inline_scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        is_script = bool(self.elements) and self.elements[-1][0] == "script"
        (self.inline_scripts if is_script and data.strip() else self.texts).append(data)


def hostile_source() -> GivenSource:
    source = GivenSource(title=HOSTILE)
    facts = exchange_facts(
        HOSTILE, resource=HOSTILE, client_id=HOSTILE, cause=HOSTILE, asked=HOSTILE
    )
    source.known = KnownObjects(names={CLIENT: HOSTILE})
    facts |= {"tenant_id": CLIENT}
    source.timeline.add(hop("account", HOSTILE, namespace="default", account=HOSTILE, pod=HOSTILE))
    source.timeline.add(hop("exchange", "AADSTS700213", **facts | {HOSTILE: HOSTILE}))
    source.timeline.add(hop("resource", HOSTILE, vault=HOSTILE, cause=HOSTILE))
    pod = {
        "metadata": {"namespace": HOSTILE, "name": HOSTILE},
        "spec": {"serviceAccountName": HOSTILE, "containers": []},
        "status": {"phase": HOSTILE},
    }
    credential = dict.fromkeys(("name", "issuer", "subject"), HOSTILE) | {"audiences": [HOSTILE]}
    identity = dict.fromkeys(("name", "kind", "client_id", "principal_id"), HOSTILE) | {
        "enabled": False,
        "federated_credentials": [credential],
        "federated_credential_limit": 20,
        "roles": [{"role": HOSTILE, "scope": HOSTILE}],
    }
    entry = dict.fromkeys(("time", "who", "action", "target", "role"), HOSTILE)
    entry["principal"] = CLIENT
    source.listings = {
        "pods": Listing(rows=[describe(pod, [HOSTILE])], more=True, skipped=1),
        "identities": Listing(rows=[identity]),
        "audit": Listing(rows=[entry]),
    }
    finding = dict.fromkeys(("text", "note", "command"), HOSTILE)
    source.trust = TrustGraphView(
        svg="<svg/>",
        version="1",
        lines=[(0, HOSTILE), (2, HOSTILE)],
        findings=[finding],
        unread=[HOSTILE],
    )
    return source


@pytest.mark.parametrize("page", [*VIEWS[1:], "", "exchanges/3", "exchanges/3/hops"])
async def test_hostile_names_add_no_script_handler_or_image_to_a_page(page: str) -> None:
    async with running_console(hostile_source()) as console:
        answer = await console.get(f"/{page}")
        assert answer.status == 200
        found = Elements()
        found.feed(answer.text)
        scripts = [values for tag, values in found.elements if tag == "script"]
        assert all(each["src"].startswith(f"{BASE}/static/") for each in scripts)
        assert not found.inline_scripts
        assert not any(name.startswith("on") or name == "style" for name in found.attributes)
        images = [values["src"] for tag, values in found.elements if tag == "img"]
        assert images == ([f"{BASE}/graph.svg?v=1"] if page == "graph" else [])
        assert HOSTILE in "".join(found.texts)


async def test_graph_svg_opened_as_a_page_is_sandboxed() -> None:
    async with running_console(hostile_source()) as console:
        answer = await console.get("/graph.svg")
        assert answer.headers["content-type"] == "image/svg+xml"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert policy.endswith("sandbox")


async def test_path_traversal_to_other_files_is_refused(console: RunningConsole) -> None:
    for name in ("../app.py", "..%2fapp.py", "sources.json", "", "/etc/passwd"):
        assert (await console.get(f"/static/{name}")).status == 404, name
