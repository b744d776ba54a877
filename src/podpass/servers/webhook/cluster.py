"""Which API server the webhook belongs to, and what that does with sidecars."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from podpass.admission import sidecar
from podpass.kubernetes.client import (
    BackOff,
    KubeClient,
    KubeError,
    Target,
    in_cluster,
    read_kubeconfig,
)
from podpass.settings import WebhookSettings

_log = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS = 0.5, 15.0


def target(settings: WebhookSettings, environ: Mapping[str, str]) -> Target:
    """Find the API server: by the kubeconfig that was named, else by the account of the pod.

    Errors:  BadKubeconfig.
    """
    if settings.kubeconfig:
        return read_kubeconfig(Path(settings.kubeconfig))
    return in_cluster(environ)


async def runs_native_sidecars(client: KubeClient, told: Callable[[str], None]) -> bool:
    """Ask the API server what it does with sidecars, for as long as it does not say.

    Shapes:  `told` hears of each attempt that failed.
    """
    back_off = BackOff(_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS)
    while True:
        try:
            version = str((await client.get("/version")).get("gitVersion"))
            native = sidecar.runs_native_sidecars(version)
        except (KubeError, sidecar.UnknownVersion) as exc:
            told(exc.message)
            _log.error("kubernetes_version_unknown", extra={"cause": exc.message, "hint": exc.hint})
            await back_off.wait()
        else:
            _log.info(
                "kubernetes_version_read", extra={"version": version, "native_sidecars": native}
            )
            return native
