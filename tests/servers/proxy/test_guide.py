"""The guide of the sidecar names every flag, metric and log event."""

import re
from dataclasses import fields
from pathlib import Path

from podpass.imds.metrics import ProxyMetrics
from podpass.imds.token_cache import TokenCache
from podpass.settings.proxy import ProxySettings

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/migrate/sidecar.md").read_text()


def test_guide_lists_the_flags() -> None:
    flags = {field.metadata["flag"] for field in fields(ProxySettings)} - {""}
    assert len(flags) == 6
    assert not [flag for flag in flags if f"| `{flag}` |" not in GUIDE]


def test_guide_lists_the_metrics() -> None:
    async def fetch(_client: str, _scope: str) -> None: ...

    cache = TokenCache(fetch, lambda: 1.0)  # type: ignore[arg-type]  # never called
    cache.refreshed_at = 1.0
    text = ProxyMetrics(cache, lambda: 1.0).render().decode()
    found = set(re.findall(r"^(podpass_\w+?)(?:_created)?[{ ]", text, re.MULTILINE))
    assert len(found) == 6
    assert not [name for name in found if f"| `{name}` |" not in GUIDE]


def test_guide_lists_the_warnings() -> None:
    files = set((ROOT / "src/podpass/imds").glob("*.py"))
    # The endpoint of a plain container is not in the sidecar.
    files -= {ROOT / "src/podpass/imds/managed_identity.py"}
    code = "".join(path.read_text() for path in files)
    events = set(re.findall(r'(?:_log\.warning\(|_log,)\s*"(\w+)"', code))
    assert events == {"token_request_failed", "token_request_refused"}
    assert not [event for event in events if f"| `{event}` |" not in GUIDE]
