"""`podpass drift`: running pods that differ from what admission would give them now."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli import options
from podpass.cli.completion_values import complete_namespaces
from podpass.cli.output import escape_unprintable, print_message, print_output, wrap_text
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir

if TYPE_CHECKING:
    from podpass.diagnose.drift.comparison import Drift
    from podpass.diagnose.drift.plan import ControllerRef, DriftReport
    from podpass.diagnose.drift.rollout_restart import Restart

_DIFFERENT, _FAILED, _NOT_READ = 1, 1, 3
_TIMEOUT_SECONDS = 300


@click.command
@options.data_dir
@click.option("-A", "--all-namespaces", is_flag=True, help="Check the pods of every namespace.")
@click.option(
    "--restart",
    is_flag=True,
    help="Restart the controllers of pods that differ, one after another, and wait for each.",
)
@click.option("--dry-run", is_flag=True, help="With --restart: print what would be restarted.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 86400),
    default=_TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Time to wait for the new pods of each controller.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Kubeconfig of the cluster.  [default: KUBECONFIG, then the running instance, then ~/.kube/config]",
)
@options.output("text", "json", "yaml")
@click.argument("namespace", default="", metavar="[NAMESPACE]", shell_complete=complete_namespaces)
def command(
    data_dir: DataDir, kubeconfig: Path | None, output: str, namespace: str, **given: Any
) -> int:
    """Find running pods that differ from what admission would give them now.

    A changed annotation, a webhook that was unavailable, a label that was added later and a new sidecar
    image do not reach pods that run already. podpass sends each pod to the API server as a dry run, which
    calls the webhook and stores nothing, and compares the answer with the pod. NAMESPACE is `default` if it
    is omitted. With --restart, PodDisruptionBudgets are respected, and the first rollout that does not end
    stops the command. The exit code is 0 if no pod differs or all were restarted, 1 if pods differ or the
    namespace does not exist, and 3 if none differs but some could not be compared.
    """
    if given["all_namespaces"] and namespace:
        raise UsageError("pass a namespace or --all-namespaces, not both")
    if given["dry_run"] and not given["restart"]:
        raise UsageError("--dry-run needs --restart", hint="without --restart, nothing is changed")
    where = "" if given["all_namespaces"] else namespace or "default"
    report, restarts = asyncio.run(_run(data_dir, kubeconfig, where, given))
    if output == "text":
        _print_report(report, restart=given["restart"])
        _print_restarts(restarts)
    else:
        print_output(_to_json(report, restarts), output)
    return _exit_code(report, restarts, restart=given["restart"] and not given["dry_run"])


async def _run(
    data_dir: DataDir, kubeconfig: Path | None, namespace: str, given: dict[str, Any]
) -> "tuple[DriftReport, list[Restart]]":
    from podpass.cli.cluster import connect_to_cluster
    from podpass.clock import system
    from podpass.diagnose.drift.reader import read_drift
    from podpass.diagnose.drift.rollout_restart import Restarter

    async with connect_to_cluster(data_dir, kubeconfig, options.environ()) as client:
        report = await read_drift(client, namespace)
        if not given["restart"]:
            return report, []
        restarter = Restarter(
            client=client,
            report=print_message,
            timeout=given["timeout"],
            clock=system,
            dry_run=given["dry_run"],
        )
        return report, await restarter.restart_all(report.controllers)


def _exit_code(report: "DriftReport", restarts: "list[Restart]", *, restart: bool) -> int:
    from podpass.diagnose.drift.rollout_restart import RestartResult

    if restart and any(each.result is not RestartResult.RESTARTED for each in restarts):
        return _FAILED
    if report.pods and not restart:
        return _DIFFERENT
    return _NOT_READ if report.unchecked else 0


def _print_report(report: "DriftReport", *, restart: bool) -> None:
    groups: dict[tuple[ControllerRef, tuple[Drift, ...]], list[str]] = {}
    for pod in report.pods:
        groups.setdefault((pod.controller, pod.differs), []).append(pod.name)
    for (controller, differs), pods in groups.items():
        named = "" if controller.kind == "Pod" else f", pods {', '.join(sorted(pods))}"
        _print(f"{controller}{named}:")
        for each in differs:
            present, expected = each.present or "not set", each.expected or "not set"
            _print(f"{each.place}, {each.member}: {present}; admission would set: {expected}", 2)
    for unchecked in report.unchecked:
        _print(f"not compared: pod {unchecked.namespace}/{unchecked.name}: {unchecked.reason}")
    if not report.pods:
        _print(f"None of {report.checked} pods with an identity differs.")
        return
    _print(f"{len(report.pods)} of {report.checked} pods with an identity differ.")
    if not restart:
        print_message("`podpass drift --restart` restarts their controllers")


def _print_restarts(restarts: "list[Restart]") -> None:
    for each in restarts:
        reason = f": {each.reason}" if each.reason else ""
        _print(f"{each.controller}: {each.result.replace('_', ' ')}{reason}")


def _print(text: str, indent: int = 0) -> None:
    for line in wrap_text(escape_unprintable(text), indent).splitlines():
        click.echo(" " * indent + line)


def _to_json(report: "DriftReport", restarts: "list[Restart]") -> dict[str, Any]:
    return {
        "checked": report.checked,
        "pods": [
            {
                "namespace": pod.namespace,
                "name": pod.name,
                "controller": {"kind": pod.controller.kind, "name": pod.controller.name},
                "differs": [
                    {
                        "place": each.place,
                        "member": each.member,
                        "pod": each.present,
                        "admission": each.expected,
                    }
                    for each in pod.differs
                ],
            }
            for pod in report.pods
        ],
        "not_compared": [
            {"namespace": each.namespace, "name": each.name, "reason": each.reason}
            for each in report.unchecked
        ],
        "restarts": [
            {
                "namespace": each.controller.namespace,
                "kind": each.controller.kind,
                "name": each.controller.name,
                "result": str(each.result),
                "reason": each.reason,
            }
            for each in restarts
        ],
    }
