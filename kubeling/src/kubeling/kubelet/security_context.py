"""The security context of a container: its user, its capabilities, a read-only root. Pure.

A container is a process of the kubelet's own user. With user namespaces it sees another user and group, and
has no capabilities; without them it runs as the kubelet's user.

Source: API reference, SecurityContext and PodSecurityContext.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Images that allow `runAsNonRoot` have a user of their own, most often this one.
_NON_ROOT = 65532
_ROOT = 0
# What container runtimes leave to a container of root.
DEFAULT_CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
_OTHER_CAPABILITIES = frozenset(
    (
        *("AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "DAC_READ_SEARCH", "IPC_LOCK"),
        *("IPC_OWNER", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN"),
        *("NET_BROADCAST", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_NICE"),
        *("SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME"),
        *("SYS_TTY_CONFIG", "WAKE_ALARM"),
    )
)
# In a container every user may listen on ports below 1024; on the machine this capability is needed.
_ALWAYS = frozenset(["NET_BIND_SERVICE"])


@dataclass(frozen=True, slots=True)
class RunAs:
    """A user and a group."""

    user: int
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSecurity:
    """What a sandbox has to change for a container.

    `run_as` is None for the user of the kubelet; `capabilities` without `CAP_`, None to keep those of the
    kubelet.
    """

    run_as: RunAs | None = None
    capabilities: tuple[str, ...] | None = None
    read_only_root: bool = False


def read_security(
    pod: Mapping[str, Any], container: Mapping[str, Any], own: RunAs
) -> ContainerSecurity:
    """Return the security of a container; `own` is the user of the kubelet."""
    context = _effective_context(pod, container)
    run_as = _run_as(context, own)
    # A pod's own context has neither of these fields, also where the API server stores unknown ones.
    rights = container.get("securityContext") or {}
    keeps = run_as is not None or own.user != _ROOT or rights.get("privileged")
    return ContainerSecurity(
        run_as=run_as,
        capabilities=None if keeps else _capabilities(rights.get("capabilities") or {}),
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
    )


def breaks_non_root_policy(pod: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Return whether a container that must not run as root has the user root."""
    context = _effective_context(pod, container)
    return bool(context.get("runAsNonRoot")) and context.get("runAsUser") == _ROOT


def _effective_context(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the context of a pod and the one of a container, which takes precedence."""
    own_context = (container.get("securityContext") or {}).items()
    given = {key: value for key, value in own_context if value is not None}
    return {**(pod["spec"].get("securityContext") or {}), **given}


def _run_as(context: Mapping[str, Any], own: RunAs) -> RunAs | None:
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if user is None and context.get("runAsNonRoot") and own.user == _ROOT:
        user, group = _NON_ROOT, _NON_ROOT if group is None else group
    if user is None and group is None:
        return None
    wanted = RunAs(own.user if user is None else user, _ROOT if group is None else group)
    is_own = wanted == own or (user == own.user and group is None)
    return None if is_own else wanted


def _capabilities(given: Mapping[str, Any]) -> tuple[str, ...]:
    every = DEFAULT_CAPABILITIES | _OTHER_CAPABILITIES
    added, dropped = (
        {name.upper().removeprefix("CAP_") for name in given.get(part) or ()}
        for part in ("add", "drop")
    )
    kept = every if "ALL" in added else DEFAULT_CAPABILITIES
    kept = frozenset() if "ALL" in dropped else kept - dropped
    return tuple(sorted(((kept | added) & every) | _ALWAYS))
