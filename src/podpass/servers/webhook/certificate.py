"""Choose the source of the serving certificate: rotation in the cluster, or files that another program
writes.
"""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from podpass import names
from podpass.admission.certificate_files import CertificateFiles, ServingCertificate
from podpass.clock import Clock
from podpass.kubernetes.client import KubeClient
from podpass.settings import WebhookSettings

if TYPE_CHECKING:
    from podpass.admission.certificates import RotationPolicy


class CertificateSource(ServingCertificate, Protocol):
    """A ServingCertificate that is used as a context and updates itself in the background."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def create_certificate_source(
    settings: WebhookSettings,
    client: KubeClient,
    clock: Clock,
    policy: "RotationPolicy | None" = None,
) -> CertificateSource:
    """Create the source that the settings select; `policy` replaces the default rotation policy."""
    if settings.disable_cert_rotation:
        return CertificateFiles(
            Path(settings.cert_dir), tls_min_version=settings.tls_min_version, clock=clock
        )
    # Imported here, because the code that creates certificates needs megabytes of memory.
    from podpass.admission.certificates import CertificateRotator, RotationPolicy

    return CertificateRotator(
        client,
        namespace=settings.namespace,
        configurations=(names.WEBHOOK_CONFIGURATION,),
        clock=clock,
        tls_min_version=settings.tls_min_version,
        policy=policy or RotationPolicy(),
    )
