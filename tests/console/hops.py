"""Hops as the stages log them, for tests of the console."""

from typing import Any

import orjson

from podpass.diagnose.trace.hop import Hop, parse_hop

CLIENT = "7c1f4d2e-5b0a-4f6e-9d3c-2a8b6e1f0c57"
ISSUER = "https://eastus.oic.prod-aks.azure.com/tenant/issuer/"


def line(stage: str, outcome: str = "ok", **facts: Any) -> bytes:
    """Return a line of a log with a hop."""
    values = {
        "time": "2026-11-30T10:20:30.400Z",
        "level": "info",
        "logger": "podpass.test",
        "event": f"{stage}_answered",
        "hop": True,
        "stage": stage,
        "asked": f"{stage} request",
        "checked": ["wire"],
        "took_ms": 1.5,
        "outcome": outcome,
    }
    return orjson.dumps(values | facts) + b"\n"


def hop(stage: str, outcome: str = "ok", **facts: Any) -> Hop:
    """Return a hop."""
    found = parse_hop(line(stage, outcome, **facts))
    assert found is not None
    return found


def exchange_facts(name: str = "web", token: str = "uti-1", **facts: Any) -> dict[str, Any]:
    """Return the facts of a token exchange of the ServiceAccount default/NAME."""
    about = {
        "client_id": CLIENT,
        "iss": ISSUER,
        "sub": f"system:serviceaccount:default:{name}",
        "aud": ["api://AzureADTokenExchange"],
        "resource": "https://vault.azure.net",
        "uti": token,
    }
    return about | facts
