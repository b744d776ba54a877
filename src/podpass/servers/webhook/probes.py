"""Probes: what is asked, and why something is not well.

The reference's paths and query: `/healthz` and `/readyz`, `?verbose`, `?exclude=NAME`, `/readyz/NAME`. What
differs: liveness looks at nothing but this process, since no new start brings a certificate or an API
server; and who asks is told the reason, on the first line, since nobody may be at hand to read the log.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from podpass.http.server import App, Receive, Scope, Send, respond

Check = Callable[[], str]
"""Says why something is not well; empty when it is."""

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
_OK, _FAILED, _UNKNOWN, _NOT_ALLOWED = 200, 500, 404, 405


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe and its checks, in the order in which they are told."""

    name: str
    checks: Mapping[str, Check]

    def reasons(self) -> dict[str, str]:
        """Run every check."""
        return {name: check() for name, check in self.checks.items()}

    def trouble(self) -> str:
        """Give the first reason, or nothing."""
        return next((reason for reason in self.reasons().values() if reason), "")


def answer(probe: Probe, rest: str, query: str) -> tuple[int, str]:
    """Answer one question of a probe.

    Shapes:  `rest` is the path after the probe's own: empty, or the name of a check. The reference has one
             check a probe, of the probe's name; here that name stands for all of them.
    """
    asked = parse_qs(query, keep_blank_values=True)
    if rest in ("", probe.name):
        return _all(probe, set(asked.get("exclude", ())), verbose="verbose" in asked)
    if rest not in probe.checks:
        return _UNKNOWN, f"no check is named {rest!r}; there are {', '.join(probe.checks)}\n"
    reason = probe.checks[rest]()
    return (_FAILED, f"internal server error: {reason}\n") if reason else (_OK, "ok")


def _all(probe: Probe, excluded: set[str], *, verbose: bool) -> tuple[int, str]:
    if probe.name in excluded:
        excluded = set(probe.checks)
    found = probe.reasons()
    failed = [reason for name, reason in found.items() if reason and name not in excluded]
    if not failed and not verbose:
        return _OK, "ok"
    lines = [*failed[:1], *_lines(found, excluded)]
    lines.append(f"{probe.name} check {'failed' if failed else 'passed'}")
    return (_FAILED if failed else _OK), "\n".join(lines) + "\n"


def _lines(found: Mapping[str, str], excluded: set[str]) -> Iterator[str]:
    for name, reason in found.items():
        if name in excluded:
            yield f"[+]{name} excluded: ok"
        else:
            yield f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok"
    if strange := sorted(excluded - set(found)):
        yield f"warn: nothing to exclude is named {', '.join(strange)}"


def create_app(*probes: Probe) -> App:
    """Make the application that answers probes."""
    known = {probe.name: probe for probe in probes}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        name, _, rest = scope["path"].strip("/").partition("/")
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, _NOT_ALLOWED, b"", ((b"allow", b"GET, HEAD"),))
        elif name not in known:
            await respond(send, _UNKNOWN, b"not found\n", _TEXT)
        else:
            query = scope["query_string"].decode("latin-1")
            status, text = answer(known[name], rest, query)
            await respond(send, status, text.encode(), _TEXT)

    return app
