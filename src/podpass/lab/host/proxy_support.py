"""Warn about a program on the host that ignores proxy variables: its requests would reach the real Azure.

Only Node can be recognized by its command. The guide lists the other clients.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_NODE_PROGRAMS = ("node", "npm", "npx")
_PROBE_SECONDS = 5
# The first versions of each release line whose fetch and https obey NODE_USE_ENV_PROXY.
_FIRST_22, _FIRST = (22, 21), (24, 5)


def reads_proxy(version: tuple[int, int]) -> bool:
    """Return whether fetch and https of a Node version use the proxy variables."""
    return version >= _FIRST or (version[0] == _FIRST_22[0] and version >= _FIRST_22)


def find_proxy_warning(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a warning about a command that runs a Node without proxy support, or an empty text."""
    if Path(words[0]).name not in _NODE_PROGRAMS:
        return ""
    node = words[0] if Path(words[0]).name == "node" else "node"
    try:
        done = subprocess.run(
            [node, "--version"],
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # the command itself will fail with a better message
    found = re.match(r"v(\d+)\.(\d+)", done.stdout)
    if found is None or reads_proxy((int(found[1]), int(found[2]))):
        return ""
    return (
        f"warning: fetch and https of Node {done.stdout.strip()} ignore HTTPS_PROXY, so their requests reach"
        " the real Azure; the Azure SDK does not ignore it. Use Node 22.21 or 24.5, or run it in a pod"
    )
