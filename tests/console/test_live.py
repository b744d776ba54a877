"""The event stream of the console: what a reader gets, also a slow one and one that comes back."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from podpass.console import app, live, pages, texts
from podpass.console.live import LISTINGS, LiveView, format_event
from podpass.console.pages import PageContext
from podpass.errors import Error
from tests.console.consoles import BASE, GivenSource, RunningConsole
from tests.console.hops import exchange_facts, hop

PATIENCE_SECONDS = 60


@dataclass
class Event:
    """One event of a stream."""

    id: str = ""
    name: str = ""
    data: str = ""


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Parse a stream; comments are left out."""
    event = Event()
    async for raw in answer.content:
        field, _, value = raw.decode().rstrip("\n").partition(": ")
        if field == "id":
            event.id = value
        elif field == "event":
            event.name = value
        elif field == "data":
            event.data += value + "\n"
        elif not field and event != Event():
            yield event
            event = Event()


async def next_event(stream: AsyncIterator[Event]) -> Event:
    return await asyncio.wait_for(anext(stream), PATIENCE_SECONDS)


def open_stream(
    console: RunningConsole, view: str = "exchanges", query: str = "", last: str = ""
) -> "aiohttp.client._RequestContextManager":
    headers = {"Cookie": console.cookie} | ({"Last-Event-ID": last} if last else {})
    url = f"{console.origin}{BASE}/events?view={view}{query}"
    return console.session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=None))


def numbers(event: Event) -> list[int]:
    """Return the numbers of the lines that an event inserts."""
    return [int(each) for each in re.findall(r'id="[xf]-([0-9]+)"', event.data)]


def add(console: RunningConsole, first: int, last: int) -> None:
    console.source.pending += [
        hop("exchange", "granted", **exchange_facts("web", f"t{number}"))
        for number in range(first, last + 1)
    ]


async def test_reader_receives_a_new_exchange_and_later_updates_of_its_row(
    console: RunningConsole,
) -> None:
    async with open_stream(console) as answer:
        stream = events(answer)
        add(console, 1, 1)
        assert numbers(await next_event(stream)) == [1]
        console.source.pending.append(hop("resource", "ok", uti="t1"))
        changed = await next_event(stream)
        assert numbers(changed) == []
        assert '<hx-partial hx-target="#u-1"' in changed.data


async def test_reconnected_reader_receives_only_missed_exchanges(console: RunningConsole) -> None:
    async with open_stream(console) as answer:
        add(console, 1, 3)
        seen = await next_event(events(answer))
    add(console, 4, 5)
    async with open_stream(console, last=seen.id) as answer:
        assert numbers(await next_event(events(answer))) == [5, 4]


async def test_first_connection_continues_after_the_last_row_of_the_page(
    console: RunningConsole,
) -> None:
    add(console, 1, 2)
    page = await console.get("/exchanges")
    found = re.search(r"&amp;after=([^\"]+)", page.text)
    assert found
    add(console, 3, 3)
    async with open_stream(console, query=f"&after={found[1]}") as answer:
        assert numbers(await next_event(events(answer))) == [3]


async def test_reader_from_another_replica_gets_its_rows_replaced(console: RunningConsole) -> None:
    """Equal numbers of two replicas are different exchanges, so the lists are not mixed."""
    async with open_stream(console, last="other-run.5.5") as answer:
        stream = events(answer)
        emptied = await next_event(stream)
        assert (
            '<hx-partial hx-target="#exchanges" hx-swap="innerHTML"></hx-partial>' in emptied.data
        )
        add(console, 1, 1)
        assert 'hx-swap="afterbegin"' in (await next_event(stream)).data
    run = emptied.id.partition(".")[0]
    here = await console.get(f"/exchanges/1/hops?run={run}")
    elsewhere = await console.get("/exchanges/1/hops?run=other-run")
    assert "default:web" in here.text
    assert "default:web" not in elsewhere.text
    assert "another replica" in elsewhere.text


@pytest.mark.parametrize("view", sorted({*LISTINGS} - {"refusals"}))
async def test_page_of_a_listing_gets_an_event_when_it_has_changed(
    console: RunningConsole, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LISTING_SECONDS", 0.0)
    console.source.revisions[view] = 1
    page = await console.get(f"/{view}")
    seen = re.search(r"&amp;seen=([0-9a-f]+)", page.text)
    assert seen
    assert f'hx-get="{BASE}/{view}" hx-select="#listing"' in page.text
    # Between the page and its stream.
    console.source.revisions[view] = 2
    async with open_stream(console, view, f"&seen={seen[1]}") as answer:
        stream = events(answer)
        first = await next_event(stream)
        assert (first.name, first.data) == ("changed", f"{view}\n")
        console.source.revisions[view] = 3
        assert (await next_event(stream)).name == "changed"


async def test_listing_is_read_once_for_all_readers_and_less_often_if_it_is_slow() -> None:
    source, clock = GivenSource(), iter([0.0, 3.0, 3.5, 62.9, 63.1, 63.1])
    view = LiveView(source)
    reads = 0

    async def revision(_: str) -> object:
        nonlocal reads
        reads += 1
        return reads

    source.revision = revision  # type: ignore[method-assign,assignment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("podpass.console.live._now", lambda: next(clock))
        found = [await view.revision("graph") for _ in range(4)]
    assert len(set(found[:3])) == 1
    assert found[3] != found[2]
    assert reads == 2


async def test_unreadable_listing_counts_as_unchanged(console: RunningConsole) -> None:
    console.source.failure = Error("the database is unavailable")
    assert await LiveView(console.source).revision("identities") == ""


async def test_failed_session_check_closes_the_stream_without_an_ended_event() -> None:
    view = LiveView(source := GivenSource())
    context = PageContext(base=BASE, title="", views=source.views, t=texts.load("en"))
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def wait(_: float) -> bool:
        raise Error("the database is unavailable")

    await view.stream(send, context, "loop", view.cursor(), "", wait)  # type: ignore[arg-type]
    assert sent[-1]["more_body"] is False
    assert not [each for each in sent if b"ended" in each.get("body", b"")]  # type: ignore[operator]


@pytest.mark.parametrize("last", ["", "x", "other-run.5.5", "1.2.3.4", "9" * 5000])
async def test_reader_with_an_unknown_position_gets_the_newest_lines(
    console: RunningConsole, last: str
) -> None:
    add(console, 1, 2)
    async with open_stream(console, last=last) as answer:
        assert numbers(await next_event(events(answer))) == [2, 1]


async def test_10000_exchanges_are_one_message_of_100_lines(console: RunningConsole) -> None:
    async with open_stream(console) as answer:
        stream = events(answer)
        add(console, 1, 10_000)
        event = await next_event(stream)
        assert numbers(event) == list(range(10_000, 9_900, -1))
        assert len(event.data) < 200_000
        add(console, 10_001, 10_001)
        assert numbers(await next_event(stream)) == [10_001]


async def test_slow_reader_gets_the_newest_lines_and_no_queue() -> None:
    """The message is made when the reader takes it, so a reader that waits costs nothing."""
    source = GivenSource()
    view = LiveView(source)
    context = PageContext(base=BASE, title="", views=source.views, t=texts.load("en"))
    sent: list[bytes] = []
    taken = asyncio.Semaphore(1)

    async def send(message: object) -> None:
        await taken.acquire()
        sent.append(message.get("body", b""))  # type: ignore[attr-defined]

    async def wait(_: float) -> bool:
        await asyncio.sleep(0)
        return len(sent) < 4

    work = asyncio.create_task(view.stream(send, context, "exchanges", view.cursor(), "", wait))
    for number in range(5000):
        source.timeline.add(hop("exchange", "granted", **exchange_facts("web", f"t{number}")))
        if number % 100 == 0:
            await asyncio.sleep(0)
    for _ in range(4):
        taken.release()
    await asyncio.wait_for(work, PATIENCE_SECONDS)
    body = b"".join(sent)
    assert len(body) < 200_000
    assert b'id="x-5000"' in body


async def test_loop_view_gets_counts(console: RunningConsole) -> None:
    async with open_stream(console, "loop") as answer:
        add(console, 1, 12)
        event = await next_event(events(answer))
    assert len(numbers(event)) == pages.MAX_ROWS["loop"]
    assert '<hx-partial hx-target="#stage-exchange" hx-swap="outerHTML">' in event.data
    assert "<b>12</b>" in event.data


async def test_refusals_page_is_read_again_after_a_new_refusal_only(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LISTING_SECONDS", 0.0)
    page = await console.get("/refusals")
    seen = re.search(r"&amp;seen=([0-9a-f]+)", page.text)
    assert seen
    async with open_stream(console, "refusals", f"&seen={seen[1]}") as answer:
        stream = events(answer)
        add(console, 1, 1)
        assert (await next_event(stream)).name == "alive"
        refused = hop("exchange", "AADSTS700213", **exchange_facts("other", ""))
        console.source.pending.append(refused)
        changed = await next_event(stream)
    assert (changed.name, changed.data) == ("changed", "refusals\n")


async def test_page_of_a_pod_receives_only_its_exchanges(console: RunningConsole) -> None:
    async with open_stream(console, query="&pod=default%2Fsecond") as answer:
        for name in ("first", "second"):
            facts = exchange_facts(token=name, pod=name)
            console.source.pending.append(hop("exchange", "granted", **facts))
        event = await next_event(events(answer))
    assert numbers(event) == [2]


async def test_stream_ends_when_the_session_ends(console: RunningConsole) -> None:
    async with open_stream(console) as answer:
        assert (await console.post("/sign-out")).status == 200
        last = [each.name async for each in events(answer)]
    assert last == ["ended"]


async def test_stream_ends_when_the_server_stops(console: RunningConsole) -> None:
    async with open_stream(console) as answer:
        console.app.close()
        assert [each.name async for each in events(answer)] == ["ended"]


async def test_stream_over_the_limit_is_refused_until_another_one_closes(
    console: RunningConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_STREAMS", 1)
    async with open_stream(console) as first:
        assert first.status == 200
        await first.content.readline()
        async with open_stream(console) as second:
            assert second.status == 503
    status = 503
    async with asyncio.timeout(PATIENCE_SECONDS):
        while status == 503:  # until the server has detected that the first reader is disconnected
            async with open_stream(console) as again:
                status = again.status
    assert status == 200


async def test_line_breaks_in_event_data_add_no_other_field() -> None:
    """Every character that ends a line for a browser, or for Python, begins another field of data."""
    for end in ("\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028"):
        text = format_event(f"a{end}{end}event: evil{end}data: x", "run.1.1")
        fields = [line.partition(":")[0] for line in re.split("\r\n|\n|\r", text.rstrip("\n"))]
        assert set(fields) == {"id", "data"}
