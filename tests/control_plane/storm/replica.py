"""`podpass webhook` as the chart's container, but with certificates that are valid for a minute.

Arguments: the folder of the pod's ServiceAccount token, then the chart's own arguments. Without bubblewrap a
pod has no mounts, so the command line names the folder.
"""

import json
import os
import sys
from pathlib import Path

from podpass.admission.certificates import RotationPolicy
from podpass.servers.webhook.webhook import run
from podpass.settings.webhook import WebhookSettings

# A new CA is added every other second and signs as soon as each API server must have received it.
POLICY = RotationPolicy(
    ca_seconds=90,
    leaf_seconds=90,
    renew_before_seconds=88,
    propagation_seconds=2,
    overlap_seconds=40,
    check_seconds=0.2,
)


def main() -> None:
    """Serve until SIGTERM."""
    environ = dict(os.environ)
    kubeconfig = Path.cwd() / "account.kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(Path(sys.argv[1]), environ)))
    arguments = [*sys.argv[2:], f"--kubeconfig={kubeconfig}"]
    run(WebhookSettings.from_environ(environ, arguments), environ, policy=POLICY)


def _kubeconfig(account: Path, environ: dict[str, str]) -> dict[str, object]:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    cluster = {"server": f"https://{host}:{port}", "certificate-authority": f"{account}/ca.crt"}
    return {
        "current-context": "pod",
        "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod"}}],
        "clusters": [{"name": "pod", "cluster": cluster}],
        "users": [{"name": "pod", "user": {"tokenFile": f"{account}/token"}}],
    }


if __name__ == "__main__":
    main()
