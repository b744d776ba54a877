"""Settings of `podpass authority`, the processes around the token service."""

import ipaddress
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podpass import guids
from podpass.errors import SettingsError
from podpass.settings.fields import authority_flag, setting
from podpass.settings.reading import parse_address

_REACHED = "Where it is reached"
_HOLDS = "What it holds"
_PROCESS = "The process"
_LIMITS = "Limits"
_KEYS = "Signing keys"
_LEVELS = ("debug", "info", "warning", "error")
_MAX_WORKERS = 64
ANY_MULTIBUFFER, NO_MULTIBUFFER = "auto", "none"
# A hundred years: times beyond the calendar are read back as damage.
MAX_ROTATION_SECONDS = 100 * 365 * 86400


def subscription_of(tenant_id: str) -> str:
    """Make the id of a tenant's subscription where none is given: the same in every process."""
    return str(uuid.uuid5(uuid.UUID(tenant_id), "subscription"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityProcessSettings:
    """Settings of `podpass authority`, around those of the token service itself."""

    listen: str = setting(
        "address of the token service, over TLS; port 0 takes a free one",
        **authority_flag("--listen", _REACHED),
        default="0.0.0.0:8443",
    )
    health_listen: str = setting(
        "address of /healthz, /readyz and /metrics, over plain HTTP",
        **authority_flag("--health-listen", _REACHED),
        default="0.0.0.0:8095",
    )
    admin_listen: str = setting(
        "address of Microsoft Graph and Resource Manager over this directory, over TLS; empty for none."
        " Every request needs a token of this authority",
        **authority_flag("--admin-listen", _REACHED),
        default="",
    )
    admin_origin: str = setting(
        "origin (https://host[:port]) under which the admin address is reached; an audience of its tokens",
        **authority_flag("--admin-origin", _REACHED),
        default="",
    )
    tls_certificate: Path = setting(
        "file of the certificate chain, as PEM; read again when it changes",
        **authority_flag("--tls-certificate", _REACHED),
    )
    tls_key: Path = setting(
        "file of its private key, as PEM; read again when it changes",
        **authority_flag("--tls-key", _REACHED),
    )
    trusted_proxies: tuple[str, ...] = setting(
        "networks (10.0.0.0/8) of the proxies whose X-Forwarded-For says who asks; nobody else's does",
        **authority_flag("--trusted-proxy", _REACHED),
        default=(),
    )
    database: str = setting(
        "the directory's database: sqlite:////absolute/path or postgresql://user:password@host/name;"
        " give it by its variable, since others may see a process's flags",
        **authority_flag("--database", _HOLDS),
    )
    sealing_key_file: Path = setting(
        "file of the 32 bytes that the signing keys in the database are sealed with",
        **authority_flag("--sealing-key-file", _HOLDS),
    )
    tenant_id: str = setting(
        "the tenant that seeds and the admin address are about, a GUID in lower case",
        **authority_flag("--tenant-id", _HOLDS),
        default="",
    )
    subscription_id: str = setting(
        "the subscription that managed identities lie in, a GUID in lower case",
        **authority_flag("--subscription-id", _HOLDS),
        default="",
        shown="made from the tenant's id",
    )
    rotation_seconds: float = setting(
        "how long a key signs before the next one does, in seconds",
        **authority_flag("--rotation-seconds", _KEYS),
        default=90 * 86400.0,
    )
    publish_ahead_seconds: float = setting(
        "how long a key is published before it signs, in seconds; whoever keeps published keys may keep them"
        " for so long",
        **authority_flag("--publish-ahead-seconds", _KEYS),
        default=25 * 3600.0,
    )
    workers: int = setting(
        "how many processes answer; one a core serves best",
        **authority_flag("--workers", _PROCESS),
        default=2,
    )
    multibuffer: str = setting(
        "library that signs several tokens at once where the processor has AVX-512 IFMA, libcrypto_mb: `auto`"
        " takes the one that is installed, `none` none, else the absolute path of its file",
        **authority_flag("--multibuffer", _PROCESS),
        default=ANY_MULTIBUFFER,
    )
    start_seconds: float = setting(
        "how long a worker may take until it is ready, in seconds, waiting for the database included",
        **authority_flag("--start-seconds", _PROCESS),
        default=60.0,
    )
    stuck_seconds: float = setting(
        "how long a worker may do nothing at all before it is replaced, in seconds",
        **authority_flag("--stuck-seconds", _PROCESS),
        default=15.0,
    )
    drain_seconds: float = setting(
        "how long requests under way may take to end after SIGTERM, in seconds",
        **authority_flag("--drain-seconds", _PROCESS),
        default=20.0,
    )
    shutdown_delay_seconds: float = setting(
        "how long it goes on as before after SIGTERM, but for /readyz, in seconds: load balancers learn of it"
        " meanwhile",
        **authority_flag("--shutdown-delay-seconds", _PROCESS),
        default=0.0,
    )
    tls_poll_seconds: float = setting(
        "how often certificate and key are looked at for a change, in seconds; SIGHUP looks at once",
        **authority_flag("--tls-poll-seconds", _PROCESS),
        default=5.0,
    )
    log_level: str = setting(
        "debug, info, warning or error",
        **authority_flag("--log-level", _PROCESS),
        default="info",
    )
    client_rate: float = setting(
        "tokens a second for one client id, on average; 0 for no limit",
        **authority_flag("--client-rate", _LIMITS),
        default=500.0,
    )
    client_burst: int = setting(
        "tokens for one client id at once, before --client-rate counts",
        **authority_flag("--client-burst", _LIMITS),
        default=5000,
    )
    source_rate: float = setting(
        "requests a second of one address, on average; 0 for no limit",
        **authority_flag("--source-rate", _LIMITS),
        default=2000.0,
    )
    source_burst: int = setting(
        "requests of one address at once, before --source-rate counts",
        **authority_flag("--source-burst", _LIMITS),
        default=10000,
    )
    refused_rate: float = setting(
        "refused requests a second of one address, and connections that ask nothing, before its connections"
        " are dropped unanswered; ten times as many if it had a token in the last ten minutes; 0 for never",
        **authority_flag("--refused-rate", _LIMITS),
        default=10.0,
    )
    refused_burst: int = setting(
        "refused requests of such an address at once, before --refused-rate counts",
        **authority_flag("--refused-burst", _LIMITS),
        default=500,
    )
    penalty_seconds: float = setting(
        "how long such an address is dropped, in seconds",
        **authority_flag("--penalty-seconds", _LIMITS),
        default=30.0,
    )
    connections: int = setting(
        "connections at a time, over all workers",
        **authority_flag("--connections", _LIMITS),
        default=8192,
    )
    source_connections: int = setting(
        "connections of one address at a time, over all workers; 0 for no limit",
        **authority_flag("--source-connections", _LIMITS),
        default=1024,
    )
    source_device_codes: int = setting(
        "device codes of one address within their quarter of an hour, over all workers; 0 for no limit",
        **authority_flag("--source-device-codes", _LIMITS),
        default=200,
    )

    def __post_init__(self) -> None:
        problems = [
            *self._address_problems(),
            *self._number_problems(),
            *self._tenant_problems(),
        ]
        if problems:
            raise SettingsError(problems)

    @property
    def subscription(self) -> str:
        """The subscription, given or made from the tenant."""
        return self.subscription_id or subscription_of(self.tenant_id)

    def _address_problems(self) -> Iterator[str]:
        for flag, text in (
            ("--listen", self.listen),
            ("--health-listen", self.health_listen),
            ("--admin-listen", self.admin_listen),
        ):
            if not text and flag == "--admin-listen":
                continue
            try:
                parse_address(flag, text)
            except ValueError as exc:
                yield str(exc)
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                yield f"--trusted-proxy {network!r}: want a network, as 10.0.0.0/8"
        if self.admin_origin and not re.fullmatch(r"https://[a-z0-9.-]+(:\d+)?", self.admin_origin):
            yield f"--admin-origin {self.admin_origin!r}: want https://host or https://host:port"

    def _number_problems(self) -> Iterator[str]:
        if not 1 <= self.workers <= _MAX_WORKERS:
            yield f"--workers {self.workers}: want 1 to {_MAX_WORKERS}"
        for flag, seconds, least in (
            ("--start-seconds", self.start_seconds, 1),
            ("--stuck-seconds", self.stuck_seconds, 2),
            ("--drain-seconds", self.drain_seconds, 0),
            ("--shutdown-delay-seconds", self.shutdown_delay_seconds, 0),
            ("--tls-poll-seconds", self.tls_poll_seconds, 0.1),
            ("--publish-ahead-seconds", self.publish_ahead_seconds, 1),
            ("--rotation-seconds", self.rotation_seconds, self.publish_ahead_seconds),
            ("--penalty-seconds", self.penalty_seconds, 0),
            ("--client-rate", self.client_rate, 0),
            ("--client-burst", self.client_burst, 1),
            ("--source-rate", self.source_rate, 0),
            ("--source-burst", self.source_burst, 1),
            ("--refused-rate", self.refused_rate, 0),
            ("--refused-burst", self.refused_burst, 1),
            ("--connections", self.connections, 1),
            ("--source-connections", self.source_connections, 0),
            ("--source-device-codes", self.source_device_codes, 0),
        ):
            if not least <= seconds < float("inf"):
                yield f"{flag} {seconds}: want {least} or more"
        if self.rotation_seconds > MAX_ROTATION_SECONDS:
            yield f"--rotation-seconds {self.rotation_seconds}: want {MAX_ROTATION_SECONDS} or less"
        if not re.fullmatch(f"{ANY_MULTIBUFFER}|{NO_MULTIBUFFER}|/.+", self.multibuffer):
            known = f"{ANY_MULTIBUFFER}, {NO_MULTIBUFFER}"
            yield f"--multibuffer {self.multibuffer!r}: want {known}, or an absolute path"
        if self.log_level not in _LEVELS:
            yield f"--log-level {self.log_level!r}: want {', '.join(_LEVELS)}"

    def _tenant_problems(self) -> Iterator[str]:
        for flag, text in (
            ("--tenant-id", self.tenant_id),
            ("--subscription-id", self.subscription_id),
        ):
            if text and not guids.is_lower_guid(text):
                yield f"{flag} {text!r}: want a GUID in lower case"
        if self.admin_listen and not self.tenant_id:
            yield "--admin-listen needs --tenant-id beside it"
