"""Install the redirection with iptables: the init container of the sidecar."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from podpass.errors import Error
from podpass.imds.redirect_rules import Redirect, plan_changes, select_rules

_SECONDS = 60
# iptables waits this long for another program that changes rules.
_IPTABLES = ("iptables", "-w", "10", "-t", "nat")
# The kernel has these settings only in its first network namespace: that of the machine.
_MACHINE_SETTINGS = ("dev_weight", "netdev_budget")
_SETTINGS = Path("/proc/sys/net/core")
_NO_PERMISSION = re.compile(
    r"permission denied|operation not permitted|you must be root", re.IGNORECASE
)


class RedirectFailed(Error):
    """The redirection was not installed."""

    code = "redirect_failed"


class NotInPod(Error):
    """The command runs outside a pod, so the rules would change the machine's firewall."""

    code = "not_in_pod"


def check_in_pod(environ: Mapping[str, str], settings: Path = _SETTINGS) -> None:
    """Check that the network namespace is that of a pod. Raises NotInPod."""
    if not environ.get("KUBERNETES_SERVICE_HOST"):
        raise NotInPod(
            "this is not a pod: KUBERNETES_SERVICE_HOST is not set",
            hint="run podpass proxy-init only as an init container; --force changes the rules anyway",
        )
    if all((settings / name).exists() for name in _MACHINE_SETTINGS):
        raise NotInPod(
            "this is the network namespace of the machine: the rules would redirect every program on it",
            hint="remove hostNetwork from the pod; in a virtual machine of its own pod, use --force",
        )


def install(redirect: Redirect) -> list[str]:
    """Change the rules where they differ, and return those in effect.

    Raises RedirectFailed, with the rule and the message of iptables.
    """
    for change in plan_changes(_read_rules(), redirect):
        _run(change)
    current = _read_rules()
    if missing := plan_changes(current, redirect):
        raise RedirectFailed(
            f"iptables reported success, but a rule is not in effect: {missing[0]}",
            hint="check whether another program in the pod changes the rules of the table nat",
        )
    return select_rules(current)


def _read_rules() -> list[str]:
    return _run("-S").splitlines()


def _run(change: str) -> str:
    command = [*_IPTABLES, *change.split()]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError as exc:
        raise RedirectFailed(
            "iptables is not installed", hint="use the image of the target proxy-init"
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise RedirectFailed(f"`{' '.join(command)}` did not end within {_SECONDS} s") from exc
    if done.returncode != 0:
        message = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        hint = "the table nat of iptables must be usable in the pod"
        if _NO_PERMISSION.search(message):
            hint = "the container needs runAsUser 0 and the capabilities NET_ADMIN and NET_RAW"
        raise RedirectFailed(f"`{' '.join(command)}` failed: {message}", hint=hint)
    return done.stdout
