"""A post-renderer for Helm that changes four fields of the rendered Deployment.

The command becomes `replica.py`, which is `podpass webhook` with short-lived certificates. The scheduler
becomes that of `installed_webhook.py`, because each replica needs its own node.
"""

import sys
from pathlib import Path

import yaml

SCHEDULER = "one-per-node"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_CHARTS_COMMAND = ["podpass", "webhook"]


def main() -> None:
    """Read the rendered objects from stdin and print the changed ones."""
    objects = [one for one in yaml.safe_load_all(sys.stdin) if one]
    for one in objects:
        if one["kind"] == "Deployment":
            spec = one["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            assert container["command"] == _CHARTS_COMMAND
            container["command"] = ["python", str(Path(__file__).with_name("replica.py")), ACCOUNT]
            # `replica.py` writes a kubeconfig.
            container["securityContext"]["readOnlyRootFilesystem"] = False
            spec["schedulerName"] = SCHEDULER
            # The address of the pod is then that of its node, which the test chooses.
            spec["hostNetwork"] = True
    yaml.safe_dump_all(objects, sys.stdout)


if __name__ == "__main__":
    main()
