"""`podpass trace`."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from podpass.cli import options
from podpass.cli.client import is_cloud_alone, read_status
from podpass.cli.completion_values import (
    complete_any,
    complete_namespaces,
    complete_pods,
    complete_service_accounts,
)
from podpass.cli.output import escape_unprintable, print_message, text_width, to_json
from podpass.clock import rfc3339
from podpass.diagnose.trace.assignment import AssignedHop, TokenOwner
from podpass.diagnose.trace.authority import insert_other_authorities
from podpass.diagnose.trace.hop import HopResult
from podpass.diagnose.trace.reader import InstanceLog
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir, check_version
from podpass.log import AUTHORITY_NOT_SERVED

_POLL_SECONDS = 0.25
_CHECK_SECONDS = 5.0
_MAX_SHOWN = 1000
_KINDS = {"pod": "pod", "pods": "pod"} | dict.fromkeys(
    ("sa", "serviceaccount", "serviceaccounts"), "account"
)
_API_SERVER = "kubernetes.default.svc"


class NothingTraced(Error):
    """The log has no hop of this pod or ServiceAccount."""

    code = "nothing_traced"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Which hops are shown; call `includes` with all hops of a log in their order.

    `namespace` and `name` are empty for all; `kind` is `pod`, `account` or empty for both; `since` is RFC
    3339 or empty; `is_complete` also shows challenges, dry runs and the API server's tokens.
    """

    namespace: str
    kind: str
    name: str
    since: str
    is_complete: bool
    _accounts: set[tuple[str, str]] = field(default_factory=set)

    def includes(self, assigned: AssignedHop) -> bool:
        """Return whether a hop is shown."""
        hop = assigned.hop
        if not self._is_of(assigned.workload) or hop.time < self.since:
            return False
        return self.is_complete or not (
            hop.result is HopResult.CHALLENGE or hop.is_dry_run or _is_for_api_server(hop)
        )

    def _is_of(self, workload: TokenOwner) -> bool:
        if self.namespace and workload.namespace != self.namespace:
            return False
        if not self.name:
            return True
        account = workload.namespace, workload.account
        is_pod = workload.is_pod(self.name) and self.kind != "account"
        if is_pod:
            self._accounts.add(account)
        # The log does not show which pod got this token: the hop is shown for each pod that may have sent it.
        is_pod = is_pod or (workload.is_unissued and account in self._accounts)
        return is_pod or (workload.account == self.name and self.kind != "pod")


def _is_for_api_server(hop: Any) -> bool:
    audience = hop.facts.get("audience")
    return hop.stage == "assertion" and (audience == "" or _API_SERVER in str(audience))


@click.command
@options.data_dir
@click.option(
    "--namespace",
    "-n",
    metavar="N",
    shell_complete=complete_namespaces,
    help="Namespace of the pod or ServiceAccount.  [default: default; without a name all]",
)
@click.option("--follow", "-f", is_flag=True, help="Wait for further hops; Ctrl-C ends it.")
@click.option(
    "--since",
    metavar="TIME",
    callback=options.parse_duration,
    help="Only hops of the last 30s, 10m, 12h, ...",
)
@click.option(
    "--all",
    "is_complete",
    is_flag=True,
    help="Also show dry runs, tokens for the API server, and first requests without a token.",
)
@options.output("table", "json")
@click.argument(
    "name",
    metavar="[POD|SERVICEACCOUNT]",
    default="",
    shell_complete=complete_any(complete_pods, complete_service_accounts),
)
def command(
    data_dir: DataDir,
    namespace: str | None,
    follow: bool,
    since: int | None,
    is_complete: bool,
    output: str,
    name: str,
) -> None:
    """Show the hops of the tokens of a pod, from its admission to the resource.

    A hop is one request: the admission of the pod, its projected token, the exchange, the request to the
    migration sidecar, the resource. A refusal has its cause and its fix. The source is the log of the
    instance, which has no token; a pod writes the log of its sidecar itself, and what no exchange confirms is
    marked as claimed. Without an argument, the hops of all pods are shown. NAME is a pod or a
    ServiceAccount; write pod/NAME or sa/NAME to choose one. With -f and -o json, each line is one hop.
    """
    kind, _, plain = name.rpartition("/")
    if kind and kind not in _KINDS:
        raise click.UsageError(f"{kind}/ is not pod/ or sa/")
    check_version(data_dir)
    if not data_dir.log_file.exists():
        if (status := read_status(data_dir)) and is_cloud_alone(status):
            raise Error(
                f"the instance in {data_dir.root} is `podpass cloud serve`, which logs to stderr only",
                hint="read the output of that process, for example with `docker logs CONTAINER`",
            )
        raise Error(
            f"{data_dir.root} has no log of an instance",
            hint=f"start an instance with `{options.format_command(data_dir, 'up --detach')}`",
        )
    wanted = TraceFilter(
        namespace=namespace or ("default" if plain else ""),
        kind=_KINDS.get(kind, ""),
        name=plain,
        since="" if since is None else rfc3339(time.time() - since),
        is_complete=is_complete,
    )
    log = InstanceLog(data_dir.log_file, data_dir.path("pods"))
    if follow:
        _follow(log, wanted, output, InstanceWatch(data_dir))
        return
    shown = deque(
        filter(wanted.includes, insert_other_authorities(log.read_all())), maxlen=_MAX_SHOWN
    )
    if plain and not shown:
        raise _nothing(data_dir, wanted)
    if output == "json":
        click.echo(to_json([_to_document(each) for each in shown], indent=2))
        return
    _print(_group(shown))
    if len(shown) == _MAX_SHOWN:
        print_message(f"only the last {_MAX_SHOWN} hops are shown; --since or a name selects fewer")


def _nothing(data_dir: DataDir, wanted: TraceFilter) -> NothingTraced:
    period = f" since {wanted.since}" if wanted.since else ""
    see = options.format_command(data_dir, f"explain --pod {wanted.name} -n {wanted.namespace}")
    return NothingTraced(
        f"the log has no hop of {wanted.namespace}/{wanted.name}{period}",
        hint=f"find out why with `{see}`; all hops: `{options.format_command(data_dir, 'trace')}`",
    )


class InstanceWatch:
    """Reports when the instance stops, does not respond, or is back: its log alone would only be silent."""

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._checked, self._state = float("-inf"), ""

    def check(self) -> None:
        """Print a change of the state to stderr; at most one check in some seconds."""
        if time.monotonic() - self._checked < _CHECK_SECONDS:
            return
        state = self._read_state()
        if state != self._state:
            print_message(state or "the instance responds again")
        self._checked, self._state = time.monotonic(), state

    def _read_state(self) -> str:
        from podpass.cli.client import check_health, read_status

        try:
            status = read_status(self._data_dir)
            if status is None:
                return f"no instance is running in {self._data_dir.root}; waiting for one"
            check_health(self._data_dir, status["pids"]["podpass"])
        except Error as exc:
            return exc.message
        return ""


def _follow(log: InstanceLog, wanted: TraceFilter, output: str, watch: InstanceWatch) -> None:
    try:
        every = insert_other_authorities(_read_forever(log, watch))
        found = filter(wanted.includes, every)
        if output == "json":
            for each in found:
                click.echo(to_json(_to_document(each)))
        else:
            _print(found)
    except KeyboardInterrupt:
        return


def _read_forever(log: InstanceLog, watch: InstanceWatch) -> Iterator[AssignedHop]:
    while True:
        yield from log.read()
        if log.is_end:
            watch.check()
            time.sleep(_POLL_SECONDS)


def _group(found: Iterable[AssignedHop]) -> Iterator[AssignedHop]:
    """Put the hops of one pod next to each other, the pod with the newest hop last."""
    groups: dict[tuple[str, ...], list[AssignedHop]] = {}
    for each in found:
        key = _key(each.workload)
        groups[key] = [*groups.pop(key, ()), each]
    for group in groups.values():
        yield from group


def _key(workload: TokenOwner) -> tuple[str, ...]:
    return workload.namespace, workload.pod, workload.account


def _to_document(assigned: AssignedHop) -> dict[str, Any]:
    from podpass.diagnose.explain.hop import explain_hop

    document = assigned.to_json()
    if (found := explain_hop(assigned.hop)) is not None:
        document |= {"cause": found.cause, "fix": found.fix}
    return document


def _print(found: Iterable[AssignedHop]) -> None:
    last: tuple[str, ...] | None = None
    for each in found:
        if _key(each.workload) != last:
            click.echo(("\n" if last else "") + _heading(each.workload))
            last = _key(each.workload)
        click.echo(_format(each))


def _heading(workload: TokenOwner) -> str:
    if not workload.namespace:
        return f"pod {workload.uid}" if workload.uid else "no known pod"
    account = f"{workload.namespace}/{workload.account}"
    if not workload.pod:
        return escape_unprintable(f"ServiceAccount {account}")
    star = "*" if workload.is_prefix else ""
    return escape_unprintable(
        f"pod {workload.namespace}/{workload.pod}{star}, ServiceAccount {account}"
    )


def _placeholders(workload: TokenOwner) -> dict[str, str]:
    values = {"NAMESPACE": workload.namespace, "SERVICEACCOUNT": workload.account}
    return values if workload.is_prefix else {**values, "POD": workload.pod}


def _format(assigned: AssignedHop) -> str:
    import textwrap

    from podpass.diagnose.explain.hop import explain_hop
    from podpass.diagnose.explain.recognition import explain_recognition, recognize

    hop = assigned.hop
    width = text_width() or 100
    outcome = hop.code or hop.outcome
    first = "  " + escape_unprintable(f"{hop.time[11:19]}  {hop.stage:10} {outcome}")
    lines = [f"{first:<46} {hop.took_ms:8.1f} ms"]
    facts = [("asked", hop.asked)]
    if hop.is_by_doctor:
        facts.append(("source", "`podpass doctor`, to check the workload; the pod did not send it"))
    if hop.event == AUTHORITY_NOT_SERVED:
        facts.append(("source", f"the gateway, for a client at {hop.fact('source')}"))
    if hop.is_claimed:
        facts.append(("source", "claimed by the pod's own log; no exchange confirms it"))
    if assigned.workload.is_unissued:
        facts.append(
            ("source", "the log has no issue of this token: it is not a projected token, or old")
        )
    for warning in hop.warnings:
        known = explain_recognition(recognize(warning), _placeholders(assigned.workload))
        facts += [("warning", warning), ("fix", known.fix if known else "")]
    if found := explain_hop(hop):
        facts += [("cause", found.cause), *(("clause", one) for one in hop.clauses)]
        facts.append(("fix", found.fix))
    elif hop.checked:
        facts += [("checked", ", ".join(hop.checked))]
    for label, text in facts:
        if text:
            lines += textwrap.wrap(
                escape_unprintable(" ".join(text.split())),
                width,
                initial_indent=f"            {label:8} ",
                subsequent_indent=" " * 21,
                break_on_hyphens=False,
                break_long_words=False,
            )
    return "\n".join(lines)
