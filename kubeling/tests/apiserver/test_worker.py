"""Large requests run in a thread of their own, so that the event loop answers other requests."""

import asyncio
import threading
from typing import Any

import pytest

from kubeling.apiserver import decoding, schema, worker
from kubeling.apiserver.admission import webhook_dispatcher
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.patch import json_patch, server_side_apply, strategic_merge
from kubeling.apiserver.validation import validate
from tests.apiserver.test_webhooks import configure
from tests.apiserver.webhook_server import LABELLED, annotate, patch

PODS = "/api/v1/namespaces/default/pods"
APPLY, STRATEGIC = "application/apply-patch+yaml", "application/strategic-merge-patch+json"


def pod(variables: int, name: str = "p") -> dict[str, Any]:
    env = [{"name": f"e{at}", "value": "v"} for at in range(variables)]
    spec = {"containers": [{"name": "c", "image": "i", "env": env}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[bool]]:
    """Record for each step whether it ran in the thread of the test, which is that of the event loop."""
    own, found = threading.get_ident(), dict[str, set[bool]]()
    for module, name in (
        (decoding, "parse"),
        (schema, "check"),
        (schema, "prune"),
        (defaults, "set_defaults"),
        (server_side_apply, "track_update"),
        (server_side_apply, "apply"),
        (json_patch, "strategic_patch"),
        (validate, "create"),
        (validate, "update"),
        (validate, "warnings"),
    ):
        step = getattr(module, name)

        def recorded(*args: Any, _step: Any = step, _name: str = name, **options: Any) -> Any:
            found.setdefault(_name, set()).add(threading.get_ident() == own)
            return _step(*args, **options)

        monkeypatch.setattr(module, name, recorded)
    return found


@pytest.mark.parametrize(("variables", "own"), [(3, True), (1000, False)])
async def test_steps_of_a_large_write_do_not_run_in_the_event_loop(
    live: Any, threads: dict[str, set[bool]], variables: int, own: bool
) -> None:
    """Fails if one large object stops the token service, which shares the event loop."""
    await asyncio.sleep(0)
    threads.clear()
    made = await live.call("POST", PODS, pod(variables))
    assert made.status == 201, made.text
    applied = await live.call(
        "PATCH", f"{PODS}/q?fieldManager=m", pod(variables, "q"), content_type=APPLY
    )
    assert applied.status == 201, applied.text
    small_change = {"metadata": {"labels": {"a": "b"}}}
    changed = await live.call("PATCH", f"{PODS}/p", small_change, content_type=STRATEGIC)
    assert changed.status == 200, changed.text
    again = await live.call("PUT", f"{PODS}/p", changed.body)
    assert again.status == 200, again.text
    expected = {
        *("parse", "check", "prune", "set_defaults", "track_update", "apply", "strategic_patch"),
        *("create", "update", "warnings"),
    }
    assert threads.keys() == expected
    # The body of the strategic merge patch is small, whatever the object is.
    assert threads.pop("parse") >= {own}
    assert set().union(*threads.values()) == {own}, threads


async def test_error_in_the_thread_is_raised_to_the_caller(live: Any) -> None:
    wrong = pod(1000)
    wrong["spec"]["containers"][0]["image"] = ""
    answer = await live.call("POST", PODS, wrong)
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    wrong["spec"]["containers"][0]["image"] = 1
    answer = await live.call("POST", PODS, wrong)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_other_requests_are_answered_during_a_large_one(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hangs if the event loop waits for the step."""
    entered, go_on = threading.Event(), threading.Event()
    merge = strategic_merge._Merger.merge

    def slow(*args: Any) -> Any:
        entered.set()
        go_on.wait()
        return merge(*args)

    await live.call("POST", PODS, pod(1000))
    monkeypatch.setattr(strategic_merge._Merger, "merge", slow)
    change = {"metadata": {"labels": {"a": "b"}}}
    large = asyncio.create_task(live.call("PATCH", f"{PODS}/p", change, content_type=STRATEGIC))
    try:
        await asyncio.to_thread(entered.wait)
        assert (await live.call("GET", f"{PODS}/p")).status == 200
        small = await live.call("PUT", "/api/v1/namespaces/default", {"metadata": {"name": "x"}})
        assert small.status == 400
    finally:
        go_on.set()
    assert (await large).status == 200


async def test_small_request_runs_in_the_event_loop_and_a_large_one_in_a_thread() -> None:
    assert await worker.run(worker.SMALL_BYTES, threading.get_ident) == threading.get_ident()
    assert await worker.run(worker.SMALL_BYTES + 1, threading.get_ident) != threading.get_ident()
    assert worker.size_of({"a": "b"}) == 9


async def test_patch_of_a_webhook_is_applied_in_the_thread(
    live: Any, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, threads = threading.get_ident(), set[bool]()
    apply = webhook_dispatcher._apply_patch

    def recorded(*args: Any) -> Any:
        threads.add(threading.get_ident() == own)
        return apply(*args)

    monkeypatch.setattr(webhook_dispatcher, "_apply_patch", recorded)
    one = await hook(patch(annotate("a", "b")))
    await configure(live, one.spec("a.example.com"))
    labelled = pod(1000)
    labelled["metadata"]["labels"] = LABELLED
    made = await live.call("POST", PODS, labelled)
    assert made.body["metadata"]["annotations"] == {"a": "b"}
    assert threads == {False}
