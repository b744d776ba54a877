"""The operator's guide names every line of the webhook's log: whoever is woken looks one up there."""

import re
from collections.abc import Iterator
from pathlib import Path

from podpass.admission.certificates import secret_store

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guides/operate.md").read_text()
_LOGGED = re.compile(r"""_log\.\w+\(\s*"(\w+)\"""")


def _events() -> Iterator[str]:
    for folder in ("admission", "kubernetes/client", "servers/webhook"):
        for path in (ROOT / "src/podpass" / folder).rglob("*.py"):
            yield from _LOGGED.findall(path.read_text())
    yield from secret_store._EVENTS.values()


def test_every_line_of_the_log_is_explained() -> None:
    events = set(_events())
    assert {"ready", "ca_made", "certificates_hindered", "watch_forbidden"} <= events
    assert not [event for event in sorted(events) if f"`{event}`" not in GUIDE]
