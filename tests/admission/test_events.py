"""Events about refused pods: on which object, how often, and without delay of the response."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podpass import names
from podpass.admission import events
from podpass.admission.events import RefusalRecorder, find_controller
from podpass.admission.handler import create_app
from podpass.http.server import Receive, Scope, Send, bind, read_body, respond, serving
from podpass.kubernetes.client import KubeClient, Target
from podpass.settings import WebhookSettings
from tests.waiting import eventually

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


def build_owned_pod(owner: Any = OWNER) -> Object:
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
        body = {"kind": "Status", "code": status, "message": f"status {status}"}
        await respond(send, status, json.dumps(body).encode())

    @property
    def get_only_event(self) -> Object:
        (event,) = self.events.values()
        return event


class Now:
    """A clock that tests set."""

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
async def _run_recorder(kubernetes: Kubernetes, now: Now) -> AsyncIterator[RefusalRecorder]:
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    async with (
        serving(kubernetes.app, sock),
        KubeClient(target) as client,
        RefusalRecorder(client, now) as recorder,
    ):
        yield recorder


@pytest.fixture
async def recorder(kubernetes: Kubernetes, now: Now) -> AsyncIterator[RefusalRecorder]:
    async with _run_recorder(kubernetes, now) as made:
        yield made


async def test_refusal_becomes_a_warning_event_on_the_controller(
    kubernetes: Kubernetes, recorder: RefusalRecorder
) -> None:
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "Pod shop/web-: wrong; fix it")
    await eventually(lambda: len(kubernetes.events) == 1)
    event = kubernetes.get_only_event
    assert event["involvedObject"] == ABOUT
    assert (event["type"], event["reason"]) == ("Warning", "WorkloadIdentityRefused")
    assert event["message"] == "Pod shop/web-: wrong; fix it"
    assert (event["count"], event["firstTimestamp"]) == (1, "2023-11-14T22:13:20Z")
    assert event["metadata"]["namespace"] == "shop"
    assert event["metadata"]["name"].startswith("web-6d4cf56db6.")
    assert kubernetes.writes == ["POST /api/v1/namespaces/shop/events"]


async def test_equal_refusals_are_counted_and_written_once_a_minute(
    kubernetes: Kubernetes, recorder: RefusalRecorder, now: Now
) -> None:
    for _ in range(500):
        recorder.refused("shop", build_owned_pod(), "bad_annotation", "first")
    await eventually(lambda: len(kubernetes.events) == 1)
    for _ in range(500):
        recorder.refused("shop", build_owned_pod(), "bad_annotation", "second")
    recorder.refused("other", build_owned_pod(), "bad_annotation", "written after all of them")
    await eventually(lambda: len(kubernetes.events) == 2)
    assert len(kubernetes.writes) == 2
    now.seconds += events.QUIET_SECONDS
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "third")
    await eventually(lambda: len(kubernetes.writes) == 3)
    event = next(iter(kubernetes.events.values()))
    assert (event["count"], event["message"]) == (1001, "third")
    assert event["lastTimestamp"] == "2023-11-14T22:14:20Z"


async def test_other_reason_or_controller_gets_a_separate_event(
    kubernetes: Kubernetes, recorder: RefusalRecorder
) -> None:
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
    recorder.refused("shop", build_owned_pod(), "account_not_found", "m")
    recorder.refused("shop", build_owned_pod({**OWNER, "uid": "other"}), "bad_annotation", "m")
    recorder.refused("two", build_owned_pod(), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.events) == 4)


async def test_expired_event_is_created_again(
    kubernetes: Kubernetes, recorder: RefusalRecorder, now: Now
) -> None:
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.events) == 1)
    kubernetes.events.clear()
    now.seconds += 7200
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.events) == 1)
    assert kubernetes.get_only_event["count"] == 2


async def test_event_budget_is_per_namespace(
    kubernetes: Kubernetes, recorder: RefusalRecorder, now: Now
) -> None:
    """A user can name any owner in a pod: a million names must not cause a million Events."""

    def refuse_many(count: int, namespace: str = "shop") -> None:
        for n in range(count):
            owner = {**OWNER, "uid": f"{now.seconds}-{n}"}
            recorder.refused(namespace, build_owned_pod(owner), "bad_annotation", "m")

    refuse_many(1000)
    refuse_many(1, "quiet")
    await eventually(lambda: len(kubernetes.events) == events.BURST + 1)
    now.seconds += 3 * events.SECONDS_EACH
    refuse_many(1000)
    await eventually(lambda: len(kubernetes.events) == events.BURST + 4)
    now.seconds += 1_000_000
    refuse_many(1000)
    await eventually(lambda: len(kubernetes.events) == 2 * events.BURST + 4)


async def test_number_of_tracked_refusals_is_bounded(
    kubernetes: Kubernetes, recorder: RefusalRecorder
) -> None:
    kubernetes.gate.clear()
    for n in range(3000):
        owner = {**OWNER, "uid": f"u-{n}"}
        recorder.refused(f"n{n}", build_owned_pod(owner), "bad_annotation", "m" * 100_000)
    assert len(recorder.recorder.correlator.series) == events.MAX_KNOWN
    assert recorder.recorder.queue.qsize() == events.MAX_WAITING
    assert max(len(each.message) for each in recorder.recorder.correlator.series.values()) == 1024
    kubernetes.gate.set()
    await eventually(lambda: len(kubernetes.events) == events.MAX_WAITING)


async def test_number_of_namespace_budgets_is_bounded(recorder: RefusalRecorder) -> None:
    for n in range(events.MAX_KNOWN + 50):
        recorder.refused(f"n{n}", build_owned_pod(), "bad_annotation", "m")
        if n % 50 == 0:
            await eventually(recorder.recorder.queue.empty)
    assert len(recorder.recorder.correlator.buckets) == events.MAX_KNOWN


async def test_refused_event_write_is_logged_once(
    kubernetes: Kubernetes, recorder: RefusalRecorder, log_lines: Function
) -> None:
    kubernetes.status = 403
    for n in range(3):
        recorder.refused("shop", build_owned_pod({**OWNER, "uid": f"u-{n}"}), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.writes) == 3)
    await asyncio.sleep(0)
    kubernetes.status = 200
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.events) == 1)
    (line,) = log_lines()
    assert (line["event"], line["status"]) == ("event_write_failed", 403)
    assert "create and patch events" in line["hint"]
    assert "status 403" in line["reason"]


async def test_failed_event_write_is_retried_later(
    kubernetes: Kubernetes, recorder: RefusalRecorder, now: Now
) -> None:
    kubernetes.status = 500
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.writes) == 1)
    kubernetes.status = 200
    now.seconds += events.QUIET_SECONDS
    recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
    await eventually(lambda: len(kubernetes.events) == 1)
    assert kubernetes.get_only_event["count"] == 2


async def test_unavailable_api_server_does_not_stop_the_recorder(now: Now) -> None:
    sock = bind("127.0.0.1", 0)
    target = Target(server=f"http://127.0.0.1:{sock.getsockname()[1]}")
    sock.close()
    async with KubeClient(target) as client, RefusalRecorder(client, now) as recorder:
        recorder.refused("shop", build_owned_pod(), "bad_annotation", "m")
        await eventually(lambda: recorder.recorder.is_failing)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"metadata": None},
        {"metadata": {"ownerReferences": None}},
        {"metadata": {"ownerReferences": {"controller": True}}},
        build_owned_pod(None),
        build_owned_pod({**OWNER, "controller": False}),
        build_owned_pod({key: OWNER[key] for key in ABOUT if key in OWNER}),
        build_owned_pod({**OWNER, "controller": "true"}),
        build_owned_pod({**OWNER, "name": "../../default/events/x"}),
        build_owned_pod({**OWNER, "name": "x" * 254}),
        build_owned_pod({**OWNER, "name": "Web"}),
        build_owned_pod({**OWNER, "name": 7}),
        build_owned_pod({**OWNER, "uid": None}),
        build_owned_pod({**OWNER, "uid": "x" * 200}),
        build_owned_pod({**OWNER, "kind": "Replica Set"}),
        build_owned_pod({**OWNER, "apiVersion": "apps\n"}),
    ],
)
def test_pod_without_valid_controller_causes_no_event(raw: Any) -> None:
    assert find_controller(raw, "shop") is None


@pytest.mark.parametrize("namespace", ["", "../kube-system", "a/b", "Shop", "x" * 64, "a.b"])
def test_invalid_namespace_causes_no_event_write(namespace: str) -> None:
    """The namespace of the request becomes part of the path of the write."""
    assert find_controller(build_owned_pod(), namespace) is None


def test_controller_is_found_among_other_owners() -> None:
    raw = build_owned_pod()
    raw["metadata"]["ownerReferences"].insert(0, {**OWNER, "uid": "x", "controller": False})
    assert find_controller(raw, "shop") == ABOUT
    assert find_controller(build_owned_pod({**OWNER, "name": "a" * 253}), "shop") is not None


@pytest.fixture
async def refusing(
    start: Function, settings: WebhookSettings, known_accounts: Function, recorder: RefusalRecorder
) -> Any:
    return await start(
        create_app(settings, known_accounts({"default/default": {}}), events=recorder)
    )


async def test_refused_pod_causes_an_event_with_the_message(
    kubernetes: Kubernetes, refusing: Any, make_pod: Function
) -> None:
    pod = make_pod({names.TOKEN_EXPIRATION: "1"})
    pod["metadata"]["ownerReferences"] = [OWNER]
    response = await refusing.review(pod)
    await eventually(lambda: len(kubernetes.events) == 1)
    assert kubernetes.get_only_event["message"] == response["status"]["message"]


async def test_dry_run_and_allowed_pod_write_no_event(
    kubernetes: Kubernetes, refusing: Any, make_pod: Function
) -> None:
    """The registration declares `sideEffects: NoneOnDryRun`."""
    pod = make_pod({names.TOKEN_EXPIRATION: "1"})
    pod["metadata"]["ownerReferences"] = [OWNER]
    assert not (await refusing.review(pod, dryRun=True))["allowed"]
    assert (await refusing.review(pod | {"metadata": {**pod["metadata"], "annotations": {}}}))[
        "allowed"
    ]
    last = make_pod(serviceAccountName="late")
    last["metadata"]["ownerReferences"] = [{**OWNER, "uid": "last"}]
    await refusing.review(last)
    await eventually(lambda: len(kubernetes.events) == 1)
    assert kubernetes.get_only_event["involvedObject"]["uid"] == "last"


async def test_response_does_not_wait_for_the_event(
    kubernetes: Kubernetes, refusing: Any, make_pod: Function
) -> None:
    kubernetes.gate.clear()
    pod = make_pod(serviceAccountName="late")
    pod["metadata"]["ownerReferences"] = [OWNER]
    assert not (await refusing.review(pod))["allowed"]
    assert kubernetes.writes == []
    kubernetes.gate.set()
    await eventually(lambda: len(kubernetes.events) == 1)


async def test_event_budget_of_all_namespaces_is_bounded(
    kubernetes: Kubernetes, recorder: RefusalRecorder, now: Now
) -> None:
    """Any pod of the cluster reaches the port, and may name every namespace."""

    async def refuse_in_each_namespace(word: str) -> None:
        for n in range(2 * events.BURST_OF_ALL):
            recorder.refused(f"{word}{n}", build_owned_pod(), "bad_annotation", "m")
            await eventually(recorder.recorder.queue.empty)

    await refuse_in_each_namespace("n")
    await eventually(lambda: len(kubernetes.events) == events.BURST_OF_ALL)
    now.seconds += 3 * events.SECONDS_EACH_OF_ALL
    await refuse_in_each_namespace("m")
    await eventually(lambda: len(kubernetes.events) == events.BURST_OF_ALL + 3)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "x: paste this into a shell"}},
        {"metadata": {"generateName": "Sign in at example.com -"}},
        {"metadata": {"name": 7}},
        {"spec": {"serviceAccountName": "web exists; run this"}},
    ],
)
def test_free_text_of_a_pod_is_not_written_to_events(change: Object) -> None:
    """A reader could mistake an Event for a message of the webhook, and the refusal repeats these names."""
    raw = build_owned_pod()
    raw["spec"] = {"serviceAccountName": "web"}
    assert find_controller(raw, "shop") is not None
    assert (
        find_controller({part: {**raw[part], **change.get(part, {})} for part in raw}, "shop")
        is None
    )
