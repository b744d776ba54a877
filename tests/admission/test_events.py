"""Events about refused pods: on whom, how often, and that nothing waits for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podpass import names
from podpass.admission import events
from podpass.admission.events import Events, controller
from podpass.admission.handler import create_app
from podpass.http.server import Receive, Scope, Send, bind, read_body, respond, serving
from podpass.kubernetes.client import KubeClient, Target
from podpass.settings import WebhookSettings

Function = Callable[..., Any]
Object = dict[str, Any]
OWNER = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "name": "web-6d4cf56db6",
    "uid": "11111111-2222-4333-8444-555555555555",
    "controller": True,
}
ABOUT = {key: OWNER[key] for key in ("apiVersion", "kind", "name", "uid")} | {"namespace": "shop"}


def owned(owner: Any = OWNER) -> Object:
    return {"metadata": {"generateName": "web-", "ownerReferences": [owner]}, "spec": {}}


class Kubernetes:
    """Events over HTTP: create and merge patch."""

    def __init__(self) -> None:
        self.events: dict[str, Object] = {}
        self.writes: list[str] = []
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads(await read_body(receive, 1 << 20))
        await self.gate.wait()
        self.writes.append(f"{scope['method']} {scope['path']}")
        name = scope["path"].rpartition("/")[2]
        if self.status != 200:
            await self._answer(send, self.status)
        elif scope["method"] == "POST":
            self.events[body["metadata"]["name"]] = body
            await self._answer(send, 201)
        elif name in self.events:
            self.events[name] |= body
            await self._answer(send, 200)
        else:
            await self._answer(send, 404)

    async def _answer(self, send: Send, status: int) -> None:
        body = {"kind": "Status", "code": status, "message": f"told {status}"}
        await respond(send, status, json.dumps(body).encode())

    @property
    def only(self) -> Object:
        (event,) = self.events.values()
        return event


class Now:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def kubernetes() -> Kubernetes:
    return Kubernetes()


@asynccontextmanager
async def _recording(kubernetes: Kubernetes, now: Now) -> AsyncIterator[Events]:
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        Events(client, now) as recorder,
    ):
        yield recorder


@pytest.fixture
async def recorder(kubernetes: Kubernetes, now: Now) -> AsyncIterator[Events]:
    async with _recording(kubernetes, now) as made:
        yield made


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 what is waited for is seen from outside only
        await asyncio.sleep(0.002)


async def test_a_refusal_becomes_a_warning_on_the_controller(
    kubernetes: Kubernetes, recorder: Events
) -> None:
    recorder.refused("shop", owned(), "bad_annotation", "Pod shop/web-: wrong; mend it")
    await _until(lambda: len(kubernetes.events) == 1)
    event = kubernetes.only
    assert event["involvedObject"] == ABOUT
    assert (event["type"], event["reason"]) == ("Warning", "WorkloadIdentityRefused")
    assert event["message"] == "Pod shop/web-: wrong; mend it"
    assert (event["count"], event["firstTimestamp"]) == (1, "2023-11-14T22:13:20Z")
    assert event["metadata"]["namespace"] == "shop"
    assert event["metadata"]["name"].startswith("web-6d4cf56db6.")
    assert kubernetes.writes == ["POST /api/v1/namespaces/shop/events"]


async def test_equal_refusals_count_on_and_are_written_once_a_minute(
    kubernetes: Kubernetes, recorder: Events, now: Now
) -> None:
    for _ in range(500):
        recorder.refused("shop", owned(), "bad_annotation", "first")
    await _until(lambda: len(kubernetes.events) == 1)
    for _ in range(500):
        recorder.refused("shop", owned(), "bad_annotation", "second")
    recorder.refused("other", owned(), "bad_annotation", "written after all of them")
    await _until(lambda: len(kubernetes.events) == 2)
    assert len(kubernetes.writes) == 2
    now.seconds += events.QUIET_SECONDS
    recorder.refused("shop", owned(), "bad_annotation", "third")
    await _until(lambda: len(kubernetes.writes) == 3)
    event = next(iter(kubernetes.events.values()))
    assert (event["count"], event["message"]) == (1001, "third")
    assert event["lastTimestamp"] == "2023-11-14T22:14:20Z"


async def test_another_reason_or_controller_is_another_event(
    kubernetes: Kubernetes, recorder: Events
) -> None:
    recorder.refused("shop", owned(), "bad_annotation", "m")
    recorder.refused("shop", owned(), "account_not_found", "m")
    recorder.refused("shop", owned({**OWNER, "uid": "other"}), "bad_annotation", "m")
    recorder.refused("two", owned(), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.events) == 4)


async def test_an_event_that_has_expired_is_written_anew(
    kubernetes: Kubernetes, recorder: Events, now: Now
) -> None:
    recorder.refused("shop", owned(), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.events) == 1)
    kubernetes.events.clear()
    now.seconds += 7200
    recorder.refused("shop", owned(), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.events) == 1)
    assert kubernetes.only["count"] == 2


async def test_a_namespace_has_only_so_many_writes_and_takes_none_from_others(
    kubernetes: Kubernetes, recorder: Events, now: Now
) -> None:
    """Whoever creates pods names any owner they like: a million names are not a million Events."""

    def many(count: int, namespace: str = "shop") -> None:
        for n in range(count):
            owner = {**OWNER, "uid": f"{now.seconds}-{n}"}
            recorder.refused(namespace, owned(owner), "bad_annotation", "m")

    many(1000)
    many(1, "quiet")
    await _until(lambda: len(kubernetes.events) == events.BURST + 1)
    now.seconds += 3 * events.SECONDS_EACH
    many(1000)
    await _until(lambda: len(kubernetes.events) == events.BURST + 4)
    now.seconds += 1_000_000
    many(1000)
    await _until(lambda: len(kubernetes.events) == 2 * events.BURST + 4)


async def test_what_is_remembered_has_a_bound(kubernetes: Kubernetes, recorder: Events) -> None:
    kubernetes.gate.clear()
    for n in range(3000):
        owner = {**OWNER, "uid": f"u-{n}"}
        recorder.refused(f"n{n}", owned(owner), "bad_annotation", "m" * 100_000)
    assert len(recorder._known) == events.MAX_KNOWN
    assert recorder._waiting.qsize() == events.MAX_WAITING
    assert max(len(each.message) for each in recorder._known.values()) == 1024
    kubernetes.gate.set()
    await _until(lambda: len(kubernetes.events) == events.MAX_WAITING)


async def test_namespaces_that_are_remembered_have_a_bound(recorder: Events) -> None:
    for n in range(events.MAX_KNOWN + 50):
        recorder.refused(f"n{n}", owned(), "bad_annotation", "m")
        if n % 50 == 0:
            await _until(recorder._waiting.empty)
    assert len(recorder._budgets) == events.MAX_KNOWN


async def test_an_api_server_that_refuses_is_complained_of_once(
    kubernetes: Kubernetes, recorder: Events, logged: Function
) -> None:
    kubernetes.status = 403
    for n in range(3):
        recorder.refused("shop", owned({**OWNER, "uid": f"u-{n}"}), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.writes) == 3)
    await asyncio.sleep(0)
    kubernetes.status = 200
    recorder.refused("shop", owned(), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.events) == 1)
    (line,) = logged()
    assert (line["event"], line["status"]) == ("event_not_written", 403)
    assert "create and patch events" in line["hint"]
    assert "told 403" in line["reason"]


async def test_an_event_that_could_not_be_written_is_tried_again_later(
    kubernetes: Kubernetes, recorder: Events, now: Now
) -> None:
    kubernetes.status = 500
    recorder.refused("shop", owned(), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.writes) == 1)
    kubernetes.status = 200
    now.seconds += events.QUIET_SECONDS
    recorder.refused("shop", owned(), "bad_annotation", "m")
    await _until(lambda: len(kubernetes.events) == 1)
    assert kubernetes.only["count"] == 2


async def test_an_api_server_that_is_away_stops_nothing(now: Now) -> None:
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    sock.close()
    async with KubeClient(target) as client, Events(client, now) as recorder:
        recorder.refused("shop", owned(), "bad_annotation", "m")
        await _until(lambda: recorder._failed)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"metadata": None},
        {"metadata": {"ownerReferences": None}},
        {"metadata": {"ownerReferences": {"controller": True}}},
        owned(None),
        owned({**OWNER, "controller": False}),
        owned({key: OWNER[key] for key in ABOUT if key in OWNER}),
        owned({**OWNER, "controller": "true"}),
        owned({**OWNER, "name": "../../default/events/x"}),
        owned({**OWNER, "name": "x" * 254}),
        owned({**OWNER, "name": "Web"}),
        owned({**OWNER, "name": 7}),
        owned({**OWNER, "uid": None}),
        owned({**OWNER, "uid": "x" * 200}),
        owned({**OWNER, "kind": "Replica Set"}),
        owned({**OWNER, "apiVersion": "apps\n"}),
    ],
)
def test_a_pod_that_names_no_controller_or_none_that_can_be_gives_no_event(raw: Any) -> None:
    assert controller(raw, "shop") is None


@pytest.mark.parametrize("namespace", ["", "../kube-system", "a/b", "Shop", "x" * 64, "a.b"])
def test_a_namespace_that_cannot_be_leads_nowhere(namespace: str) -> None:
    """The request's own word goes into the path of the write."""
    assert controller(owned(), namespace) is None


def test_the_controller_is_found_among_other_owners() -> None:
    raw = owned()
    raw["metadata"]["ownerReferences"].insert(0, {**OWNER, "uid": "x", "controller": False})
    assert controller(raw, "shop") == ABOUT
    assert controller(owned({**OWNER, "name": "a" * 253}), "shop") is not None


@pytest.fixture
async def refusing(
    start: Function, settings: WebhookSettings, known_accounts: Function, recorder: Events
) -> Any:
    return await start(
        create_app(settings, known_accounts({"default/default": {}}), events=recorder)
    )


async def test_a_refused_pod_brings_an_event_with_the_words_of_the_refusal(
    kubernetes: Kubernetes, refusing: Any, make_pod: Function
) -> None:
    pod = make_pod({names.TOKEN_EXPIRATION: "1"})
    pod["metadata"]["ownerReferences"] = [OWNER]
    response = await refusing.review(pod)
    await _until(lambda: len(kubernetes.events) == 1)
    assert kubernetes.only["message"] == response["status"]["message"]


async def test_a_dry_run_and_a_pod_that_is_allowed_bring_none(
    kubernetes: Kubernetes, refusing: Any, make_pod: Function
) -> None:
    """`sideEffects: NoneOnDryRun` is a promise."""
    pod = make_pod({names.TOKEN_EXPIRATION: "1"})
    pod["metadata"]["ownerReferences"] = [OWNER]
    assert not (await refusing.review(pod, dryRun=True))["allowed"]
    assert (await refusing.review(pod | {"metadata": {**pod["metadata"], "annotations": {}}}))[
        "allowed"
    ]
    last = make_pod(serviceAccountName="late")
    last["metadata"]["ownerReferences"] = [{**OWNER, "uid": "last"}]
    await refusing.review(last)
    await _until(lambda: len(kubernetes.events) == 1)
    assert kubernetes.only["involvedObject"]["uid"] == "last"


async def test_a_verdict_does_not_wait_for_its_event(
    kubernetes: Kubernetes, refusing: Any, make_pod: Function
) -> None:
    kubernetes.gate.clear()
    pod = make_pod(serviceAccountName="late")
    pod["metadata"]["ownerReferences"] = [OWNER]
    assert not (await refusing.review(pod))["allowed"]
    assert kubernetes.writes == []
    kubernetes.gate.set()
    await _until(lambda: len(kubernetes.events) == 1)


async def test_all_namespaces_together_have_only_so_many_writes(
    kubernetes: Kubernetes, recorder: Events, now: Now
) -> None:
    """Any pod of the cluster reaches the port, and may name every namespace there is."""

    async def each_once(word: str) -> None:
        for n in range(2 * events.BURST_OF_ALL):
            recorder.refused(f"{word}{n}", owned(), "bad_annotation", "m")
            await _until(recorder._waiting.empty)

    await each_once("n")
    await _until(lambda: len(kubernetes.events) == events.BURST_OF_ALL)
    now.seconds += 3 * events.SECONDS_EACH_OF_ALL
    await each_once("m")
    await _until(lambda: len(kubernetes.events) == events.BURST_OF_ALL + 3)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "x: paste this into a shell"}},
        {"metadata": {"generateName": "Sign in at example.com -"}},
        {"metadata": {"name": 7}},
        {"spec": {"serviceAccountName": "web exists; run this"}},
    ],
)
def test_free_text_of_a_pods_author_gets_into_no_event(change: Object) -> None:
    """Whoever reads an Event takes it for the webhook's own words; the refusal repeats these names."""
    raw = owned()
    raw["spec"] = {"serviceAccountName": "web"}
    assert controller(raw, "shop") is not None
    assert controller({part: {**raw[part], **change.get(part, {})} for part in raw}, "shop") is None
