"""Serve the probes, with the reason of a failure.

Paths and queries are those of azure-workload-identity: `/healthz` and `/readyz`, `?verbose`, `?exclude=NAME`,
`/readyz/NAME`. There are two differences. Liveness checks only the process itself, because a restart fixes
neither a missing certificate nor an unavailable API server. And the first line of the response contains the
reason.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from podpass.http.server import App, Receive, Scope, Send, respond

Check = Callable[[], str]
"""Returns why a check fails, or an empty text."""

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
_OK, _FAILED, _UNKNOWN, _NOT_ALLOWED = 200, 500, 404, 405


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe and its checks, in the order of the response."""

    name: str
    checks: Mapping[str, Check]

    def run_checks(self) -> dict[str, str]:
        """Run every check; return the reason of each, empty if it succeeds."""
        return {name: check() for name, check in self.checks.items()}

    def not_ready_reason(self) -> str:
        """Return the first reason, or an empty text."""
        return next((reason for reason in self.run_checks().values() if reason), "")


def answer(probe: Probe, rest: str, query: str) -> tuple[int, str]:
    """Return status and body for a request to a probe.

    `rest` is the path after the probe's own: empty, or the name of a check. In the reference a probe has one
    check with the probe's name; here that name means all checks.
    """
    params = parse_qs(query, keep_blank_values=True)
    if rest in ("", probe.name):
        return _run_all(probe, set(params.get("exclude", ())), verbose="verbose" in params)
    if rest not in probe.checks:
        return (
            _UNKNOWN,
            f"no check has the name {rest!r}; the checks are {', '.join(probe.checks)}\n",
        )
    reason = probe.checks[rest]()
    return (_FAILED, f"internal server error: {reason}\n") if reason else (_OK, "ok")


def _run_all(probe: Probe, excluded: set[str], *, verbose: bool) -> tuple[int, str]:
    if probe.name in excluded:
        excluded = set(probe.checks)
    found = probe.run_checks()
    failed = [reason for name, reason in found.items() if reason and name not in excluded]
    if not failed and not verbose:
        return _OK, "ok"
    lines = [*failed[:1], *_format_checks(found, excluded)]
    lines.append(f"{probe.name} check {'failed' if failed else 'passed'}")
    return (_FAILED if failed else _OK), "\n".join(lines) + "\n"


def _format_checks(found: Mapping[str, str], excluded: set[str]) -> Iterator[str]:
    for name, reason in found.items():
        if name in excluded:
            yield f"[+]{name} excluded: ok"
        else:
            yield f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok"
    if unknown := sorted(excluded - set(found)):
        yield f"warn: no check to exclude has the name {', '.join(unknown)}"


def create_app(*probes: Probe) -> App:
    """Create the application that serves the probes."""
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
