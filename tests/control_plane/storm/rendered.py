"""Helm's post-renderer: of all that the chart renders, two words of the Deployment are changed.

Its program is `replica.py`, which is `podpass webhook` in a hurry; and its pods wait for the scheduler of
`site.py`, since replicas that share a machine's ports have to go to nodes of their own.
"""

import sys
from pathlib import Path

import yaml

SCHEDULER = "one-per-node"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_CHARTS_COMMAND = ["podpass", "webhook"]


def main() -> None:
    """Change what comes in, and write it out."""
    objects = [one for one in yaml.safe_load_all(sys.stdin) if one]
    for one in objects:
        if one["kind"] == "Deployment":
            spec = one["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            assert container["command"] == _CHARTS_COMMAND
            container["command"] = ["python", str(Path(__file__).with_name("replica.py")), ACCOUNT]
            spec["schedulerName"] = SCHEDULER
    yaml.safe_dump_all(objects, sys.stdout)


if __name__ == "__main__":
    main()
