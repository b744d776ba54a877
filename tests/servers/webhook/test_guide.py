"""The guide for operators explains every log event of the webhook."""

import re
from collections.abc import Iterator
from pathlib import Path

from podpass.admission.certificates import secret_store

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/operate/webhook.md").read_text()
_LOGGED = re.compile(r"""_log\.\w+\(\s*"(\w+)\"""")


def _events() -> Iterator[str]:
    for folder in ("admission", "kubernetes/client", "servers/webhook"):
        for path in (ROOT / "src/podpass" / folder).rglob("*.py"):
            yield from _LOGGED.findall(path.read_text())
    yield from secret_store._EVENTS.values()


def test_guide_explains_every_log_event() -> None:
    events = set(_events())
    assert {
        "webhook_ready",
        "ca_added",
        "certificate_rotation_degraded",
        "watch_forbidden",
    } <= events
    assert not [event for event in sorted(events) if f"`{event}`" not in GUIDE]
