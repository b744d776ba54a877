"""Settings of the cloud half alone."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from podpass import guids
from podpass.errors import SettingsError
from podpass.settings.authority import ALGORITHMS
from podpass.settings.fields import setting
from podpass.settings.reading import parse_address

_MAX_PROPAGATION = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    """Settings of `podpass cloud serve`, the cloud half alone."""

    data_dir: Path = setting(
        "folder of the data; created if it does not exist",
        flag="--data-dir",
        variable="PODPASS_DATA_DIR",
        shown="$XDG_STATE_HOME/podpass",
    )
    listen: str = setting(
        "address of the gateway: TLS for all Azure names, selected by SNI",
        flag="--listen",
        variable="PODPASS_CLOUD_LISTEN",
        default=":8443",
    )
    health_listen: str = setting(
        "address of the probes /healthz and /readyz",
        flag="--health-listen",
        variable="PODPASS_CLOUD_HEALTH_LISTEN",
        default=":8095",
    )
    tenant_id: str = setting(
        "tenant of a new data folder; by default a new one is generated",
        flag="--tenant-id",
        variable="PODPASS_CLOUD_TENANT_ID",
        default="",
    )
    service: str = setting(
        "Service of the pod's namespace that leads to this pod: the resolver answers with its address, and "
        "the API server calls the trust webhook through it; without it, neither is served",
        flag="--service",
        variable="PODPASS_CLOUD_SERVICE",
        default="",
    )
    dns_upstream: str = setting(
        "address of the cluster's DNS server: the webhook gives pods the resolver as their DNS server, and "
        "the resolver forwards all other names to this address",
        flag="--dns-upstream",
        variable="PODPASS_CLOUD_DNS_UPSTREAM",
        default="",
    )
    dns_listen: str = setting(
        "address of the resolver, UDP and TCP",
        flag="--dns-listen",
        variable="PODPASS_CLOUD_DNS_LISTEN",
        default=":5353",
    )
    webhook_listen: str = setting(
        "address of the webhook that gives pods the CA",
        flag="--webhook-listen",
        variable="PODPASS_CLOUD_WEBHOOK_LISTEN",
        default=":9443",
    )
    identity_secret: str = setting(
        "Secret of the pod's namespace that keeps the tenant, the CA and the keys, so that a pod with an "
        "empty folder is the same cloud; it must exist and may be empty",
        flag="--identity-secret",
        variable="PODPASS_CLOUD_IDENTITY_SECRET",
        default="",
    )
    managed_identity_listen: str = setting(
        "address of the managed identity endpoint (HTTP) for containers without a cluster; without it, the "
        "endpoint is not served",
        flag="--managed-identity-listen",
        variable="PODPASS_CLOUD_MANAGED_IDENTITY_LISTEN",
        default="",
    )
    managed_identities: str = setting(
        "comma-separated names of the managed identities that every caller of the endpoint can use by IMDS' "
        "protocol; without names and without header values, all of them",
        flag="--managed-identities",
        variable="PODPASS_CLOUD_MANAGED_IDENTITIES",
        default="",
    )
    propagation_seconds: int = setting(
        "seconds until a new federated credential is trusted; in Entra this takes up to two minutes",
        flag="--propagation-delay",
        variable="PODPASS_PROPAGATION_DELAY",
        default=0,
    )
    assertion_algorithms: str = setting(
        "comma-separated signature algorithms that are accepted in pods' tokens; Entra accepts the RSA "
        "algorithms, ES256 and ES384 are an extension",
        flag="--assertion-algorithm",
        variable="PODPASS_ASSERTION_ALGORITHM",
        default="RS256,RS384,RS512",
    )

    def __post_init__(self) -> None:
        problems = []
        if self.tenant_id and not guids.is_lower_guid(self.tenant_id.lower()):
            problems.append(f"--tenant-id {self.tenant_id}: must be a GUID")
        addresses: tuple[tuple[str, str], ...] = (
            ("--listen", self.listen),
            ("--health-listen", self.health_listen),
            ("--dns-listen", self.dns_listen),
            ("--webhook-listen", self.webhook_listen),
        )
        if self.managed_identity_listen:
            addresses += (("--managed-identity-listen", self.managed_identity_listen),)
        for flag, text in addresses:
            try:
                parse_address(flag, text)
            except ValueError as exc:
                problems.append(str(exc))
        if self.managed_identities and not self.managed_identity_listen:
            problems.append("--managed-identities needs --managed-identity-listen")
        if self.dns_upstream and not _is_address(self.dns_upstream):
            problems.append(f"--dns-upstream {self.dns_upstream}: must be an IP address")
        if unknown := set(self.assertion_algorithms.split(",")) - set(ALGORITHMS):
            given = f"--assertion-algorithm {self.assertion_algorithms}"
            problems.append(f"{given}: {sorted(unknown)} must be among {', '.join(ALGORITHMS)}")
        if not 0 <= self.propagation_seconds <= _MAX_PROPAGATION:
            delay = f"--propagation-delay {self.propagation_seconds}"
            problems.append(f"{delay}: must be 0 to {_MAX_PROPAGATION} seconds")
        if problems:
            raise SettingsError(problems)

    @property
    def assigned_identities(self) -> tuple[str, ...]:
        """Return the names of the identities that IMDS' protocol can use."""
        return tuple(filter(None, map(str.strip, self.managed_identities.split(","))))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
