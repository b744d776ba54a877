"""Find the API server of the webhook, and whether it supports native sidecars."""

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


def find_api_server(settings: WebhookSettings, environ: Mapping[str, str]) -> Target:
    """Return the API server of the kubeconfig in the settings, otherwise that of the pod's own cluster.

    Raises BadKubeconfig.
    """
    if settings.kubeconfig:
        return read_kubeconfig(Path(settings.kubeconfig))
    return in_cluster(environ)


async def detect_native_sidecars(client: KubeClient, on_failure: Callable[[str], None]) -> bool:
    """Return whether the API server supports native sidecars; retry until it answers.

    `on_failure` is called with the reason of each failed attempt.
    """
    back_off = BackOff(_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS)
    while True:
        try:
            version = str((await client.get("/version")).get("gitVersion"))
            native = sidecar.supports_native_sidecars(version)
        except (KubeError, sidecar.UnknownVersion) as exc:
            on_failure(exc.message)
            _log.error("kubernetes_version_unknown", extra={"cause": exc.message, "hint": exc.hint})
            await back_off.wait()
        else:
            _log.info(
                "kubernetes_version_read", extra={"version": version, "native_sidecars": native}
            )
            return native
