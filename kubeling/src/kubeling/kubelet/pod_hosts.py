"""The host name of a pod, and its /etc/hosts.

Source: k8s.io/kubernetes v1.36 pkg/kubelet/kubelet_pods.go.
"""

import contextlib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeling.files import create_private_folder
from kubeling.kubelet.cluster_dns import DOMAIN

HOSTS = Path("/etc/hosts")
_MAX_LENGTH = 63


def host_name(pod: Mapping[str, Any]) -> str:
    """Return the host name of a pod; for a pod in the machine's network, the machine's."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return socket.gethostname()
    if override := spec.get("hostnameOverride"):
        return str(override)
    name, domain = _names(pod)
    return f"{name}.{domain}" if domain and spec.get("setHostnameAsFQDN") else name


def _names(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of a pod and the domain of its subdomain, which is empty without one."""
    spec, meta = pod["spec"], pod["metadata"]
    name = spec.get("hostnameOverride") or spec.get("hostname") or meta["name"]
    subdomain = None if spec.get("hostnameOverride") else spec.get("subdomain")
    domain = f"{subdomain}.{meta['namespace']}.svc.{DOMAIN}" if subdomain else ""
    # A name may not end with a hyphen or a dot.
    return name if len(name) <= _MAX_LENGTH else name[:_MAX_LENGTH].rstrip("-."), domain


def build_hosts(pod: Mapping[str, Any], address: str, machine: str) -> str:
    """Return /etc/hosts of a pod: its name and host aliases, then the lines of the machine."""
    name, domain = _names(pod)
    own = [address, *([f"{name}.{domain}"] if domain else []), name]
    aliases = [
        [each["ip"], *(each.get("hostnames") or ())]
        for each in pod["spec"].get("hostAliases") or ()
    ]
    lines = ["# Kubernetes-managed hosts file.", "127.0.0.1\tlocalhost", "\t".join(own)]
    if aliases:
        lines += ["# Entries added by HostAliases.", *map("\t".join, aliases)]
    return "\n".join([*lines, machine])


def write_hosts(
    path: Path,
    pod: Mapping[str, Any],
    address: str,
    machine: Path,
    replaced: Mapping[str, str] | None = None,
) -> None:
    """Write /etc/hosts of a pod with the lines of a file of the machine, whose addresses may be replaced.

    The file is not replaced, because running containers have mounted this file and not its name.
    """
    lines = ""
    with contextlib.suppress(OSError):
        lines = machine.read_text("utf-8", "surrogateescape")
    for old, new in (replaced or {}).items():
        lines = re.sub(rf"(?m)^{re.escape(old)}(?=\s)", new, lines)
    content = build_hosts(pod, address, lines).encode("utf-8", "surrogateescape")
    create_private_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.pread(descriptor, len(content) + 1, 0) != content:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
