"""Run the commands of `podpass issuer` with real clocks, targets and API servers."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli.invocation import environ
from podpass.cli.output import align, format_cell, print_message, print_output
from podpass.clock import rfc3339, system
from podpass.errors import Error

if TYPE_CHECKING:
    from podpass.assertion.publishing.config import IssuerConfig
    from podpass.assertion.publishing.model import IssuerKey, IssuerState
    from podpass.assertion.publishing.plan import RotationWait
    from podpass.assertion.publishing.rotation import Rotation, RotationRequest, RotationTools

_COLUMNS = {
    "KID": "kid",
    "STATE": "state",
    "PUBLISHED": "published",
    "SIGNS FROM": "signs_from",
    "SIGNED UNTIL": "signed_until",
}
_DAY_SECONDS = 24 * 3600
_POLL_SECONDS = 5.0


class Interrupted(Error):
    """The user interrupted a rotation."""

    code = "interrupted"
    exit_code = 130


def publish_now(folder: Path, *, replace: bool) -> tuple[str, int]:
    """Publish the documents; return the name of the target and the number of keys."""
    from podpass.assertion.publishing.key_folder import KeyFolder
    from podpass.assertion.publishing.rotation import Rotation, RotationRequest

    tools = _collect_tools(folder)
    with KeyFolder(folder).lock():
        count = Rotation(tools, RotationRequest()).publish(overwrite=replace)
    return tools.target.name, count


def run_rotation(
    folder: Path, request: "RotationRequest", *, older_than_days: int | None, wait: bool
) -> "RotationWait | None":
    """Run a rotation until it must wait, or with `wait` until it has ended."""
    from dataclasses import replace

    from podpass.assertion.publishing import plan
    from podpass.assertion.publishing.key_folder import KeyFolder
    from podpass.assertion.publishing.rotation import Rotation

    keys = KeyFolder(folder)
    reason = ""
    while True:
        # The lock is released while waiting, so that another command can report a leaked key.
        with keys.lock():
            if older_than_days is not None:
                state = keys.read_state()
                is_due = plan.is_old(state, system(), older_than_days * _DAY_SECONDS)
                request = replace(request, start=is_due)
            outcome = _run_once(Rotation(_collect_tools(folder), request))
        if outcome is None or outcome.is_manual or not wait:
            return outcome
        if outcome.reason != reason:
            print_message(f"waiting until {rfc3339(outcome.until)}: {outcome.reason}")
        reason, older_than_days = outcome.reason, None
        _sleep(outcome.until)
        request = replace(request, start=False, is_applied=False, leaked=(), accept_clock=False)


def _run_once(rotation: "Rotation") -> "RotationWait | None":
    try:
        return rotation.run()
    except KeyboardInterrupt as exc:
        raise Interrupted(
            f"interrupted in step {rotation.step}",
            hint="run `podpass issuer rotate` again: it continues with this step",
        ) from exc


def _sleep(until: float) -> None:
    try:
        # In pieces, because a clock that is corrected changes the rest of the wait.
        while True:
            time.sleep(min(max(until - system(), 1.0), _POLL_SECONDS))
            if system() >= until:
                return
    except KeyboardInterrupt as exc:
        raise Interrupted(
            "interrupted in a wait", hint="run `podpass issuer rotate` again: it continues the wait"
        ) from exc


def _collect_tools(folder: Path) -> "RotationTools":
    from podpass.assertion.publishing import api_servers, config
    from podpass.assertion.publishing.key_folder import KeyFolder, read_clock
    from podpass.assertion.publishing.rotation import RotationTools
    from podpass.assertion.publishing.targets import open_target

    settings = config.read(folder)

    def observe() -> Sequence[api_servers.ApiServerKeys]:
        return asyncio.run(api_servers.read_all(settings.kubeconfigs, settings.probe_account))

    return RotationTools(
        folder=KeyFolder(folder),
        config=settings,
        target=open_target(settings.target, folder, environ(), settings.s3_endpoint),
        read_clock=lambda: read_clock(system()),
        observe=observe,
        log=print_message,
        environ=environ(),
    )


def run_status(folder: Path, *, offline: bool, ca_file: Path | None) -> dict[str, Any]:
    """Return the report of `podpass issuer status`."""
    from podpass.assertion.publishing import config, plan, status
    from podpass.assertion.publishing.key_folder import KeyFolder, read_clock
    from podpass.assertion.publishing.targets import open_target

    settings, keys = config.read(folder), KeyFolder(folder)
    state, now = keys.read_state(), system()
    problems = status.check_state(settings, state)
    if problem := plan.clock_problem(state.clock, read_clock(now)):
        problems.append(problem)
    checks: list[Callable[[], list[str]]] = [
        lambda: status.check_target(
            settings, state, open_target(settings.target, folder, environ(), settings.s3_endpoint)
        )
    ]
    if not offline:
        checks.append(lambda: _check_public(settings, state, ca_file))
    checks.append(lambda: _check_api_servers(settings, state))
    for check in checks:
        try:
            problems += check()
        except Error as exc:
            problems.append(exc.message)
    problems += [
        f"{name} is not a key of this issuer: delete the file if no API server uses it"
        for name in keys.unknown_private_keys(state)
    ]
    due = plan.next_step(state, settings.rotation_waits, now, start=False)
    return {
        "issuer": settings.issuer,
        "target": settings.target,
        "signing": settings.signing.value,
        "next": _describe(due),
        "keys": [_row(state, key) for key in reversed(state.keys)],
        "problems": problems,
    }


def _check_public(
    settings: "IssuerConfig", state: "IssuerState", ca_file: Path | None
) -> list[str]:
    from podpass.assertion.publishing import public_documents, status
    from podpass.crypto.jose import DISCOVERY_PATH
    from podpass.http.fetcher import Fetcher, FetchRules, TrustedUrls
    from podpass.kubernetes.service_account.discovery import issuer_base
    from podpass.kubernetes.service_account.names import JWKS_PATH

    base = issuer_base(settings.issuer)
    trusted = TrustedUrls(
        urls=frozenset({base + DISCOVERY_PATH, base + JWKS_PATH}), ca_file=ca_file
    )
    fetcher = Fetcher(FetchRules(trusted=trusted, seconds=10.0))
    try:
        found = asyncio.run(public_documents.read(fetcher, settings.issuer))
    except Error as exc:
        return [f"{settings.issuer} cannot be read as verifiers read it: {exc.message}"]
    return status.check_public(settings, state, found)


def _check_api_servers(settings: "IssuerConfig", state: "IssuerState") -> list[str]:
    from podpass.assertion.publishing import api_servers, status

    observed = asyncio.run(api_servers.read_all(settings.kubeconfigs, settings.probe_account))
    return [
        problem
        for each in observed
        for problem in status.check_api_server(settings, state, each, system())
    ]


def _describe(due: object) -> str:
    from podpass.assertion.publishing.plan import DueStep, RotationWait

    if isinstance(due, DueStep):
        return f"step {due.step.value} is due: run `podpass issuer rotate`"
    if isinstance(due, RotationWait):
        return f"waits until {rfc3339(due.until)}: {due.reason}"
    return "no rotation is in progress"


def _row(state: "IssuerState", key: "IssuerKey") -> dict[str, Any]:
    from podpass.assertion.publishing.status import name_state

    return {
        "kid": key.kid,
        "state": name_state(state, key),
        "leaked": key.is_leaked,
        "published": _time(key.published),
        "signs_from": _time(key.signs),
        "signed_until": _time(key.replaced),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def print_state(report: Mapping[str, Any], output: str) -> None:
    """Print the report of `podpass issuer status`."""
    if output != "table":
        print_output(report, output)
        return
    rows = [["Issuer", report["issuer"]], ["Target", report["target"]], ["Next", report["next"]]]
    lines = [list(_COLUMNS)]
    lines += [[format_cell(row[name]) for name in _COLUMNS.values()] for row in report["keys"]]
    click.echo(align(rows) + "\n" + align(lines), nl=False)
    for problem in report["problems"]:
        print_message(f"problem: {problem}")
