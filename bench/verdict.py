"""Microseconds of one review inside the webhook, without socket and TLS: `python -m bench.verdict`.

The least of many rounds, since on a shared machine everything else only adds.
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
    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:  # noqa: ARG002
        return ACCOUNT


def asking(body: bytes, path: str) -> tuple[Ask, list[bytes]]:
    """Make a call of the webhook that needs no loop, and the list of what it answers."""
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


def least_microseconds(ask: Ask, answers: list[bytes]) -> float:
    """Time many rounds of calls, and give the least of their means."""
    times = []
    for _ in range(ROUNDS):
        answers.clear()
        started = time.perf_counter()
        for _ in range(EACH):
            finish(ask())
        times.append((time.perf_counter() - started) / EACH)
    return min(times) * 1e6


def finish(call: Any) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits for something")


def main() -> None:
    """Measure and print."""
    log.configure(level="warning")  # as the reference, which is run at its default level
    body = review()
    ask, answers = asking(body, names.WEBHOOK_PATH)
    finish(ask())
    assert b'"patch":' in answers[0]
    print(f"{len(body)} bytes in, {len(answers[0])} out: {least_microseconds(ask, answers):.1f} us")


if __name__ == "__main__":
    main()
