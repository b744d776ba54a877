"""The CPU time of one review in the webhook, without socket and TLS: `python -m bench.review_time`.

The result is the minimum of many rounds, because other programs of the machine only add time.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from bench.admission import review
from podpass import log, names
from podpass.admission.handler import create_app
from podpass.settings import WebhookSettings

ROUNDS, EACH = 1500, 20
ACCOUNT = {names.CLIENT_ID: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"}
Ask = Callable[[], Awaitable[None]]


class _OneAccount:
    async def read_annotations(self, namespace: str, name: str) -> Mapping[str, str]:  # noqa: ARG002
        return ACCOUNT


def make_call(body: bytes, path: str) -> tuple[Ask, list[bytes]]:
    """Return a call of the webhook that needs no event loop, and the list of its responses."""
    app = create_app(WebhookSettings(tenant_id="tenant"), _OneAccount())
    scope: dict[str, Any] = {"type": "http", "path": path, "headers": []}
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    answers: list[bytes] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            answers.append(message["body"])

    return lambda: app(scope, receive, send), answers


def min_microseconds(ask: Ask, answers: list[bytes]) -> float:
    """Time many rounds of calls and return the minimum of their means."""
    times = []
    for _ in range(ROUNDS):
        answers.clear()
        started = time.perf_counter()
        for _ in range(EACH):
            run_without_waiting(ask())
        times.append((time.perf_counter() - started) / EACH)
    return min(times) * 1e6


def run_without_waiting(call: Any) -> None:
    """Run a coroutine that never waits."""
    try:
        call.send(None)
    except StopIteration:
        return
    raise RuntimeError("the coroutine waits")


def main() -> None:
    """Measure and print the results."""
    log.configure(level="warning")  # the default level of the reference
    body = review()
    ask, answers = make_call(body, names.WEBHOOK_PATH)
    run_without_waiting(ask())
    assert b'"patch":' in answers[0]
    print(f"{len(body)} bytes in, {len(answers[0])} out: {min_microseconds(ask, answers):.1f} us")


if __name__ == "__main__":
    main()
