"""Settings of the cloud half alone."""

import ipaddress
from dataclasses import dataclass

from podpass import guids
from podpass.errors import SettingsError
from podpass.settings.azure import AzureSettings
from podpass.settings.fields import setting
from podpass.settings.reading import parse_address

_DNS_PORT = 53
_SERVICE_RESOLVER = ":5353"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings(AzureSettings):
    """Settings of `podpass cloud serve`, the cloud half alone."""

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
        "Service of the pod's namespace that selects this pod: the resolver answers with its address, and "
        "the API server calls the trust webhook through it; without it, neither is served",
        flag="--service",
        variable="PODPASS_CLOUD_SERVICE",
        default="",
    )
    dns_listen: str = setting(
        "address of the resolver, UDP and TCP; :5353 with --service; without both, no resolver is served",
        flag="--dns-listen",
        variable="PODPASS_CLOUD_DNS_LISTEN",
        default="",
    )
    dns_address: str = setting(
        "comma-separated IP addresses to which Azure's names resolve; by default the address of "
        "this machine that the client reaches; with --service, always that of the Service",
        flag="--dns-address",
        variable="PODPASS_CLOUD_DNS_ADDRESS",
        default="",
    )
    dns_upstream: str = setting(
        "address of the DNS server for all other names, IP or IP:PORT; by default the first nameserver of "
        "/etc/resolv.conf; with --service there is no default, and with it the webhook gives pods the "
        "resolver as their DNS server",
        flag="--dns-upstream",
        variable="PODPASS_CLOUD_DNS_UPSTREAM",
        default="",
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
        "comma-separated names of the managed identities of the seed that every caller of the endpoint can "
        "use by IMDS' protocol; without names and without header values, all of them",
        flag="--managed-identities",
        variable="PODPASS_CLOUD_MANAGED_IDENTITIES",
        default="",
    )
    managed_identity_hosts: str = setting(
        "comma-separated host names and addresses of the endpoint for IMDS' protocol; 169.254.169.254, "
        "loopback and the address that the client connects to need no entry",
        flag="--managed-identity-hosts",
        variable="PODPASS_CLOUD_MANAGED_IDENTITY_HOSTS",
        default="",
    )
    trust_dir: str = setting(
        "folder into which the CA and the public root certificates are written for other containers, in the "
        "forms that clients read; without it, they are not written",
        flag="--trust-dir",
        variable="PODPASS_CLOUD_TRUST_DIR",
        default="",
    )

    def __post_init__(self) -> None:
        problems = self.list_problems()
        if self.tenant_id and not guids.is_lower_guid(self.tenant_id.lower()):
            problems.append(f"--tenant-id {self.tenant_id}: must be a GUID")
        addresses: tuple[tuple[str, str], ...] = (
            ("--listen", self.listen),
            ("--health-listen", self.health_listen),
            ("--webhook-listen", self.webhook_listen),
            ("--dns-listen", self.dns_listen),
            ("--managed-identity-listen", self.managed_identity_listen),
        )
        optional = ("--dns-listen", "--managed-identity-listen")
        for flag, text in addresses:
            if not text and flag in optional:
                continue
            try:
                parse_address(flag, text)
            except ValueError as exc:
                problems.append(str(exc))
        for flag, text in (
            ("--managed-identities", self.managed_identities),
            ("--managed-identity-hosts", self.managed_identity_hosts),
        ):
            if text and not self.managed_identity_listen:
                problems.append(f"{flag} needs --managed-identity-listen")
        if self.dns_upstream and not self.resolver_address:
            problems.append("--dns-upstream needs --dns-listen or --service")
        if self.dns_address and (self.service or not self.dns_listen):
            problems.append("--dns-address needs --dns-listen, without --service")
        for flag, text, form, parse in (
            ("--dns-upstream", self.dns_upstream, "IP or IP:PORT", self.find_upstream),
            ("--dns-address", self.dns_address, "IP addresses, as IP,IP", self.find_addresses),
        ):
            try:
                parse()
            except ValueError:
                problems.append(f"{flag} {text!r}: must be {form}")
        if problems:
            raise SettingsError(problems)

    @property
    def assigned_identities(self) -> tuple[str, ...]:
        """Return the names of the identities that IMDS' protocol can use."""
        return tuple(filter(None, map(str.strip, self.managed_identities.split(","))))

    @property
    def identity_hosts(self) -> frozenset[str]:
        """Return the host names of the managed identity endpoint, in lower case."""
        given = self.managed_identity_hosts.lower().split(",")
        return frozenset(filter(None, map(str.strip, given)))

    @property
    def resolver_address(self) -> str:
        """Return the address of the resolver; empty if none is served."""
        return self.dns_listen or (_SERVICE_RESOLVER if self.service else "")

    @property
    def listens(self) -> dict[str, str]:
        """Return what is served to other hosts with its address, and where the data of storage is."""
        found = {
            "azure": self.listen,
            "managed identities": self.managed_identity_listen,
            "resolver": self.resolver_address,
            "azurite": self.azurite,
            "trust": self.trust_dir,
        }
        return {name: text for name, text in found.items() if text}

    def find_upstream(self) -> tuple[str, int] | None:
        """Return address and port of `dns_upstream`, None if it is not set. Raises ValueError."""
        text = self.dns_upstream
        if not text:
            return None
        if text.count(":") == 1 or text.startswith("["):
            host, port = parse_address("--dns-upstream", text)
        else:
            host, port = text, _DNS_PORT
        return str(ipaddress.ip_address(host)), port

    def find_addresses(self) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        """Return the addresses of `dns_address`. Raises ValueError."""
        given = filter(None, map(str.strip, self.dns_address.split(",")))
        return [ipaddress.ip_address(each) for each in given]
