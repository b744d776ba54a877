"""The console in a real Chromium: every view with real exchanges, live, by keyboard, on a phone."""

import asyncio
import base64
import json
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import HOSTILE
from tests.browser.pages import VIEWS, ConsolePages, Session
from tests.console.hops import exchange_facts, line
from tests.journey.instance import CLIENT, Instance

pytestmark = pytest.mark.browser

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
}
# The elements that are not completely in the window, except those for screen readers only.
OUTSIDE = """[...document.querySelectorAll("main *")].filter(each =>
    !each.closest(".visually-hidden, .stack thead")
    && each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML)"""
# The share of dark pixels in a picture.
DARK_PART = """async text => {
    const bytes = Uint8Array.from(atob(text), char => char.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, image.width, image.height).data;
    let dark = 0;
    for (let at = 0; at < data.length; at += 4) {
        dark += data[at] + data[at + 1] + data[at + 2] < 384;
    }
    return dark / (data.length / 4);
}"""
PRINT_TOKENS = """
import os
from azure.identity import WorkloadIdentityCredential
print(open(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read())
print(WorkloadIdentityCredential().get_token("https://vault.azure.net/.default").token)
"""


def append_to_log(instance: Instance, lines: list[bytes]) -> None:
    """Add lines to the log as the instance does."""
    with (instance.data_dir / "podpass.log").open("ab") as log:
        log.write(b"".join(lines))


SHOTS = {
    "": "loop",
    "exchanges": "exchanges",
    "refusals": "refusals",
    "pods": "pods",
    "graph": "graph",
}


def test_screenshots_of_the_documentation_can_be_taken(
    console: ConsolePages, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The first test, so that the pictures do not have what the other tests add."""
    wanted = request.config.getoption("--write-screenshots")
    folder = Path(wanted) if wanted else tmp_path
    session = console.open(viewport={"width": 1200, "height": 700}, reduced_motion="reduce")
    for view, name in SHOTS.items():
        tab = session.show(view)
        for summary in tab.locator("#exchanges > li > details > summary").all()[:1]:
            if view:
                summary.click()
        if view == "exchanges":
            tab.locator(".claims").first.wait_for()
        tab.evaluate(
            "document.querySelector('.brand .about').textContent = '~/.local/state/podpass'"
        )
        file = folder / f"console-{name}.png"
        tab.screenshot(path=file)
        assert 5_000 < file.stat().st_size < 150_000


def test_loop_view_counts_the_requests_of_each_stage(page: Session) -> None:
    tab = page.show("")
    for stage in ("account", "admission", "assertion", "exchange", "resource"):
        assert int(tab.locator(f"#stage-{stage} .counts b").first.inner_text()) > 0
    assert int(tab.locator("#stage-exchange .counts a b").inner_text()) > 0
    assert tab.locator("#exchanges > li").count() > 1


def test_opened_exchange_shows_its_hops_and_decoded_claims(page: Session) -> None:
    tab = page.show("exchanges")
    row = tab.locator("#exchanges > li", has_text="default/web").last
    row.locator("summary").first.click()
    row.locator(".claims").wait_for()
    stages = row.locator(".hop h3").all_inner_texts()
    names = ["ServiceAccount", "Admission", "Projected token", "Token exchange", "Resource"]
    assert [text.split(" ")[0] for text in stages] == [name.split(" ")[0] for name in names]
    claims = row.get_by_role("region", name="Claims of the access token")
    assert "https://vault.azure.net" in claims.inner_text()
    assert CLIENT in claims.inner_text()
    assert "system:serviceaccount:default:web" in row.inner_text()


def test_refusal_has_cause_and_a_command_to_copy(console: ConsolePages) -> None:
    session = console.open(permissions=["clipboard-read", "clipboard-write"])
    tab = session.show("refusals")
    refusal = tab.locator(".refusal", has_text="default/untrusted").first
    assert "AADSTS700213" in refusal.inner_text()
    assert "Resolution" in refusal.inner_text()
    refusal.get_by_role("button", name="Copy").click()
    refusal.get_by_role("button", name="Copied").wait_for()
    words = shlex.split(tab.evaluate("navigator.clipboard.readText()"))
    assert words[:4] == ["az", "identity", "federated-credential", "create"]
    assert "system:serviceaccount:default:untrusted" in words


def test_pods_show_what_admission_did(page: Session) -> None:
    tab = page.show("pods")
    row = tab.locator("tr", has_text="default/reader")
    assert "changed by the webhook" in row.inner_text()
    assert CLIENT in row.inner_text()
    assert "api://AzureADTokenExchange" in row.inner_text()


def test_failed_pod_has_no_green_badge_and_links_to_its_exchanges(page: Session) -> None:
    row = page.show("pods").locator("tr", has_text="default/refused")
    assert row.locator(".pill.bad").count() == 1
    assert row.locator(".pill.good").count() == 0
    row.get_by_role("link", name="refused").click()
    page.wait_until_live()
    texts = page.tab.locator("#exchanges > li").all_inner_texts()
    assert texts
    assert all("default/untrusted (Pod refused)" in text for text in texts)


def test_exchange_of_doctor_is_marked_and_not_counted(page: Session, instance: Instance) -> None:
    counts = page.show("").locator("#stage-exchange .counts").inner_text()
    instance.podpass("doctor", "reader", "--exchange", check=False)
    row = page.tab.locator("#exchanges > li", has_text="default/web").first
    row.get_by_text("check by podpass doctor").wait_for()
    assert "Pod " not in row.inner_text()
    assert page.show("").locator("#stage-exchange .counts").inner_text() == counts


def test_identities_show_credentials_and_roles(page: Session) -> None:
    tab = page.show("identities")
    card = tab.locator("section.card", has=tab.get_by_role("heading", name="web managed"))
    assert "system:serviceaccount:default:batch" in card.inner_text()
    assert "Key Vault Secrets User" in card.inner_text()
    assert "Federated credentials (3 of 20)" in card.inner_text()


def test_audit_view_shows_a_role_of_the_seed(page: Session) -> None:
    tab = page.show("audit")
    assert "Key Vault Secrets User" in tab.locator("table").inner_text()


def test_trust_graph_shows_picture_and_paths(page: Session) -> None:
    tab = page.show("graph")
    picture = tab.locator("figure img")
    assert tab.evaluate(
        "image => image.complete && image.naturalWidth > 100", picture.element_handle()
    )
    assert "default/web" in tab.locator(".paths").inner_text()
    assert "system:serviceaccount:default:batch; the most similar" not in tab.content()


def test_new_exchange_of_a_pod_appears_without_a_reload(page: Session, instance: Instance) -> None:
    tab = page.show("exchanges")
    before = tab.locator("#exchanges > li").first.get_attribute("id")
    tab.evaluate("window.notReloaded = true")
    phase, _ = instance.run_pod("live", "web")
    assert phase == "Succeeded"
    tab.wait_for_function(
        "before => document.querySelector('#exchanges > li').id !== before", arg=before
    )
    row = tab.locator("#exchanges > li").first
    assert "default/web" in row.inner_text()
    row.get_by_text("uses: 1").wait_for()
    assert tab.evaluate("window.notReloaded")


def test_new_pod_appears_without_a_reload(page: Session, instance: Instance) -> None:
    tab = page.show("pods")
    instance.create_pod("appears", "web", [sys.executable, "-c", "pass"])
    tab.get_by_role("rowheader", name="default/appears").wait_for()


def test_10000_events_do_not_slow_the_page(page: Session, instance: Instance) -> None:
    tab = page.show("exchanges")
    row = tab.locator("#exchanges > li").first
    row.locator("summary").first.click()
    row.locator(".hop").first.wait_for()
    for part in range(20):
        facts = [exchange_facts("many", f"p{part}-{number}") for number in range(500)]
        append_to_log(instance, [line("exchange", "granted", **each) for each in facts])
    last = exchange_facts("last-of-all", "last")
    append_to_log(instance, [line("exchange", "granted", **last)])
    tab.locator("#exchanges > li", has_text="default/last-of-all").wait_for()
    # The list has a maximum length; an expanded line stays until the list has twice that length.
    assert tab.locator("#exchanges > li").count() <= 101
    assert tab.evaluate("document.querySelectorAll('*').length") < 5000
    # 60 frames and an answer of the server: seconds even on a busy machine, minutes if the page were slow.
    milliseconds = tab.evaluate(
        """async () => {
            const begin = performance.now();
            for (let frame = 0; frame < 60; frame += 1) {
                await new Promise(requestAnimationFrame);
            }
            return performance.now() - begin;
        }"""
    )
    assert milliseconds < 20_000
    first = tab.locator("#exchanges > li").first
    first.locator("summary").first.click()
    first.locator(".claims").wait_for()


SEED = """
identities:
  - name: live-{view}
    federated_credentials:
      - {{name: live, issuer: cluster, subject: "system:serviceaccount:default:live-{view}"}}
"""


@pytest.mark.parametrize("view", ["identities", "graph", "audit"])
def test_change_of_the_directory_appears_without_a_reload(
    page: Session, instance: Instance, tmp_path: Path, view: str
) -> None:
    tab = page.show(view)
    (tmp_path / "seed.yaml").write_text(SEED.format(view=view))
    instance.podpass("apply", "-f", str(tmp_path / "seed.yaml"))
    tab.locator("#listing").get_by_text(f"live-{view}").first.wait_for()
    assert tab.locator("#listing").count() == 1


def test_page_that_receives_no_events_shows_that_it_is_disconnected(
    page: Session, instance: Instance
) -> None:
    """A stopped process keeps its connections open; the server sends an event every 14 seconds."""
    page.tab.clock.install()
    tab = page.show("exchanges")
    tab.clock.fast_forward(60_000)
    tab.wait_for_selector("#live.off")
    append_to_log(instance, [line("exchange", "granted", **exchange_facts("back", "back"))])
    tab.wait_for_selector("#live.on")


async def _refuse_hostile_requests(instance: Instance) -> None:
    assertion = instance.token("web")
    for form in (
        {"client_id": HOSTILE},
        {"scope": f"{HOSTILE}/.default"},
        {"client_assertion_type": HOSTILE},
    ):
        await instance.exchange(assertion, correlation_id="hostile", **form)


def test_hostile_names_are_shown_as_text_and_add_no_markup(
    page: Session, instance: Instance
) -> None:
    # In a thread, because Playwright runs the event loop of this one.
    with ThreadPoolExecutor() as threads:
        threads.submit(asyncio.run, _refuse_hostile_requests(instance)).result()
    names = {"sub": f"system:serviceaccount:{HOSTILE}:{HOSTILE}", "resource": HOSTILE}
    append_to_log(instance, [line("exchange", "granted", **exchange_facts(token="h") | names)])
    for view in ("", "exchanges", "refusals"):
        tab = page.show(view)
        tab.get_by_text(HOSTILE).first.wait_for()
        for summary in tab.locator("#exchanges > li > details > summary").all()[:3]:
            summary.click()
        assert tab.locator("main img").count() == 0
        assert "pwned" not in tab.title()


def test_live_update_with_a_hostile_name_adds_no_markup(page: Session, instance: Instance) -> None:
    tab = page.show("exchanges")
    name = f"{HOSTILE}<script>document.title='pwned'</script>"
    facts = exchange_facts("x", "h2", sub=f"system:serviceaccount:live:{name}")
    append_to_log(instance, [line("exchange", "granted", **facts)])
    tab.locator("#exchanges > li", has_text="live/").wait_for()
    assert tab.locator("main img, main script").count() == 0
    assert "pwned" not in tab.title()


def test_console_is_usable_by_keyboard_alone(page: Session) -> None:
    tab = page.show("exchanges")

    def focused() -> str:
        return str(tab.evaluate("document.activeElement.innerText.trim().split('\\n')[0]"))

    tab.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.locator("#exchanges .claims").first.wait_for()
    # Move the focus from the first line back to the navigation; two links of languages are between them.
    for _ in range(3):
        tab.keyboard.press("Shift+Tab")
    assert focused() == "Audit"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/audit")


@pytest.mark.parametrize(
    "how",
    [{}, {"color_scheme": "dark"}, PHONE, {"locale": "zh-CN"}],
    ids=["light", "dark", "phone", "chinese"],
)
def test_every_view_passes_the_accessibility_checks(
    console: ConsolePages, axe: str, how: dict[str, Any]
) -> None:
    session = console.open(**how)
    for view in VIEWS:
        tab = session.show(view)
        # The policy of the page allows no script of another origin, and the debugger ignores the policy.
        for summary in tab.locator("#exchanges summary").all()[:2]:
            summary.click()
        if view == "exchanges":
            tab.locator(".claims").first.wait_for()
        tab.evaluate(axe)
        found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        problems = [
            (each["id"], [node["target"] for node in each["nodes"]][:3])
            for each in found["violations"]
        ]
        assert problems == [], view


@pytest.mark.parametrize(
    "how", [PHONE, {"viewport": {"width": 1440, "height": 900}}], ids=["phone", "desktop"]
)
def test_every_view_fits_into_the_window(console: ConsolePages, how: dict[str, Any]) -> None:
    """Fails if the last column of the graph, or the target of the audit log, needs scrolling."""
    session = console.open(**how)
    for view in VIEWS:
        tab = session.show(view)
        tab.wait_for_function("[...document.images].every(image => image.complete)")
        outside = tab.evaluate(OUTSIDE)
        assert outside == [], view
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    tab = session.show("graph")
    picture = "document.querySelector('figure img')"
    scale = tab.evaluate(f"{picture}.width / {picture}.naturalWidth")
    assert scale == 1 or how is PHONE
    assert "journey-vault" in tab.locator(".paths").inner_text()
    target = session.show("audit").locator("td", has_text="/vaults/journey-vault").first
    assert target.is_visible()


def test_no_view_shows_a_backtick(page: Session) -> None:
    for view in VIEWS:
        assert "`" not in page.show(view).locator("main").inner_text(), view


def test_pages_have_a_dark_background_only_in_dark_mode(console: ConsolePages) -> None:
    for scheme, is_dark in (("light", False), ("dark", True)):
        tab = console.open(color_scheme=scheme).show("")
        color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        red = int(color.partition("(")[2].partition(",")[0])
        assert (red < 100) == is_dark


def test_trust_graph_is_dark_only_in_dark_mode(console: ConsolePages) -> None:
    for scheme, is_dark in (("light", False), ("dark", True)):
        session = console.open(color_scheme=scheme)
        picture = session.show("graph").locator("figure img").screenshot()
        blank = session.context.new_page()
        part = blank.evaluate(DARK_PART, base64.b64encode(picture).decode())
        assert (part > 0.8) == is_dark
        assert (part < 0.2) != is_dark


def test_language_follows_the_browser_and_the_switch(console: ConsolePages) -> None:
    session = console.open(locale="zh-CN")
    tab = session.show("exchanges")
    assert tab.locator("h1").inner_text() == "令牌交换"
    tab.get_by_role("button", name="English").click()
    tab.wait_for_url("**/exchanges")
    assert tab.locator("h1").inner_text() == "Exchanges"
    session.show("pods")
    assert tab.locator("html").get_attribute("lang") == "en"


def test_no_page_contains_a_token(page: Session, instance: Instance) -> None:
    done = instance.run_on_host("web", [sys.executable, "-c", PRINT_TOKENS])
    tokens = done.split()
    assert len(tokens) == 2
    texts = []
    for view in VIEWS:
        tab = page.show(view)
        for summary in tab.locator("#exchanges > li > details > summary").all()[:5]:
            summary.click()
        if view == "exchanges":
            tab.locator(".claims").nth(4).wait_for()
        texts.append(tab.content())
    status = instance.status
    secrets = [status["admin"]["password"]]
    secrets.append(json.loads((instance.data_dir / "instance.json").read_text())["control_token"])
    for token in tokens:
        secrets += token.split(".")[1:]
    for secret in secrets:
        assert not any(secret in text for text in texts)
    assert "default/web" in texts[1]


def test_pages_work_without_scripts(console: ConsolePages) -> None:
    session = console.open(java_script_enabled=False)
    tab = session.tab
    tab.goto(session.base + "exchanges")
    row = tab.locator("#exchanges > li").first
    row.locator("summary").click()
    row.get_by_role("link", name="Open as a page").click()
    assert tab.locator(".claims").count() == 1
    assert "Reload the page" in tab.locator("#live").inner_text()


def test_second_browser_cannot_use_the_same_sign_in_link(
    console: ConsolePages, chromium: Any
) -> None:
    link = console.link()
    console.open(link=link)
    context = chromium.new_context()
    tab = context.new_page()
    assert tab.goto(link).status == 403
    assert "podpass console" in tab.content()
    assert tab.goto(console.instance.status["console"]).status == 401
    context.close()


def test_link_in_a_page_of_another_site_signs_in(console: ConsolePages, chromium: Any) -> None:
    """A link in a web terminal, or in a file that `podpass console --open` writes, is such a link."""
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto("data:text/html,<a href='" + console.link() + "'>console</a>")
    tab.get_by_text("console").click()
    tab.wait_for_selector("main")
    context.close()


def test_sign_out_ends_live_updates_in_every_tab(console: ConsolePages) -> None:
    session = console.open()
    session.show("")
    second = session.context.new_page()
    second.goto(session.base)
    second.wait_for_selector("#live.on")
    second.get_by_role("button", name="Sign out").click()
    session.tab.wait_for_selector("#live.ended")
    session.problems.clear()
