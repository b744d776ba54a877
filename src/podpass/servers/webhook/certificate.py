"""Who keeps the serving certificate: the rotation in the cluster, or whoever fills the folder."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from podpass import names
from podpass.admission.certificate_files import CertificateFiles, Serving
from podpass.clock import Clock
from podpass.kubernetes.client import KubeClient
from podpass.settings import WebhookSettings

if TYPE_CHECKING:
    from podpass.admission.certificates import Plan


class Keeper(Serving, Protocol):
    """A Serving that has something to do for as long as it is entered."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def keeper(
    settings: WebhookSettings, client: KubeClient, clock: Clock, plan: "Plan | None" = None
) -> Keeper:
    """Choose who keeps the certificate; `plan` says how fast it is rotated, if not as ever."""
    if settings.disable_cert_rotation:
        return CertificateFiles(
            Path(settings.cert_dir), tls_min_version=settings.tls_min_version, clock=clock
        )
    # Rotation brings what makes certificates, which takes megabytes.
    from podpass.admission.certificates import Plan, Rotation

    return Rotation(
        client,
        namespace=settings.namespace,
        configurations=(names.WEBHOOK_CONFIGURATION,),
        clock=clock,
        tls_min_version=settings.tls_min_version,
        plan=plan or Plan(),
    )
