"""`podpass webhook` as the chart's container, but with certificates that live for a minute.

Run as a program: the folder of the pod's account, then the chart's own arguments. Without bubblewrap a
pod's mounts are found by what its command line says of them, so the account is named there.
"""

import json
import os
import sys
from pathlib import Path

from podpass.admission.certificates import Plan
from podpass.servers.webhook.webhook import run
from podpass.settings.webhook import WebhookSettings

# A new authority joins every other second and signs as soon as each API server must have heard of it.
PLAN = Plan(
    ca_seconds=90,
    leaf_seconds=90,
    look_ahead_seconds=88,
    lag_seconds=2,
    linger_seconds=40,
    check_seconds=0.2,
)


def main() -> None:
    """Serve until told to stop."""
    environ = dict(os.environ)
    kubeconfig = Path.cwd() / "account.kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig(Path(sys.argv[1]), environ)))
    arguments = [*sys.argv[2:], f"--kubeconfig={kubeconfig}"]
    run(WebhookSettings.from_environ(environ, arguments), environ, plan=PLAN)


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
