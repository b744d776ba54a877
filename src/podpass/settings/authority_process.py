"""Settings of `podpass authority`: the processes that run the token service."""

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

_ADDRESSES = "Addresses"
_DATA = "Data"
_PROCESS = "Process"
_LIMITS = "Limits"
_KEYS = "Signing keys"
_LEVELS = ("debug", "info", "warning", "error")
_MAX_WORKERS = 64
ANY_MULTIBUFFER, NO_MULTIBUFFER = "auto", "none"
# A hundred years: a longer time could exceed the calendar, and its row would count as corrupt.
MAX_ROTATION_SECONDS = 100 * 365 * 86400


def default_subscription_id(tenant_id: str) -> str:
    """Return the default subscription ID of a tenant; it is the same in every process."""
    return str(uuid.uuid5(uuid.UUID(tenant_id), "subscription"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityProcessSettings:
    """Settings of `podpass authority`, in addition to those of the token service itself."""

    listen: str = setting(
        "listen address of the token service, over TLS; port 0 selects a free port",
        **authority_flag("--listen", _ADDRESSES),
        default=":8443",
    )
    health_listen: str = setting(
        "listen address of /healthz, /readyz and /metrics, over plain HTTP",
        **authority_flag("--health-listen", _ADDRESSES),
        default=":8095",
    )
    admin_listen: str = setting(
        "listen address of the Microsoft Graph and Resource Manager APIs of this directory, over TLS; "
        "empty to"
        " turn them off. Every request needs a token of this authority",
        **authority_flag("--admin-listen", _ADDRESSES),
        default="",
    )
    admin_origin: str = setting(
        "origin (https://host[:port]) at which clients reach the admin address; an audience of its tokens",
        **authority_flag("--admin-origin", _ADDRESSES),
        default="",
    )
    tls_certificate: Path = setting(
        "PEM file of the certificate chain; reloaded when it changes",
        **authority_flag("--tls-certificate", _ADDRESSES),
    )
    tls_key: Path = setting(
        "PEM file of the certificate's private key; reloaded when it changes",
        **authority_flag("--tls-key", _ADDRESSES),
    )
    trusted_proxies: tuple[str, ...] = setting(
        "networks (10.0.0.0/8) of trusted proxies: only their X-Forwarded-For header is used",
        **authority_flag("--trusted-proxy", _ADDRESSES),
        default=(),
    )
    database: str = setting(
        "database of the directory: sqlite:////absolute/path or postgresql://user:password@host/name;"
        " use the variable for a URL with a password, because other users can see a process's flags",
        **authority_flag("--database", _DATA),
    )
    sealing_key_file: Path = setting(
        "file of the 32-byte key that seals the signing keys in the database",
        **authority_flag("--sealing-key-file", _DATA),
    )
    tenant_id: str = setting(
        "tenant ID of seed files and of the admin address, a GUID in lower case",
        **authority_flag("--tenant-id", _DATA),
        default="",
    )
    subscription_id: str = setting(
        "subscription ID of managed identities, a GUID in lower case",
        **authority_flag("--subscription-id", _DATA),
        default="",
        shown="derived from the tenant ID",
    )
    rotation_seconds: float = setting(
        "time between two rotations of the signing key, in seconds",
        **authority_flag("--rotation-seconds", _KEYS),
        default=90 * 86400.0,
    )
    publish_ahead_seconds: float = setting(
        "how long a key is published before it signs, in seconds; consumers may cache the published keys for"
        " this time",
        **authority_flag("--publish-ahead-seconds", _KEYS),
        default=25 * 3600.0,
    )
    workers: int = setting(
        "number of worker processes; one for each core is fastest",
        **authority_flag("--workers", _PROCESS),
        default=2,
    )
    multibuffer: str = setting(
        "the library libcrypto_mb, which signs several tokens together on processors with AVX-512 IFMA:"
        " `auto` uses the installed library, `none` disables it, or the absolute path of the library",
        **authority_flag("--multibuffer", _PROCESS),
        default=ANY_MULTIBUFFER,
    )
    start_seconds: float = setting(
        "maximum time until a worker is ready, in seconds; includes the wait for the database",
        **authority_flag("--start-seconds", _PROCESS),
        default=60.0,
    )
    stuck_seconds: float = setting(
        "how long a worker may be unresponsive before it is replaced, in seconds",
        **authority_flag("--stuck-seconds", _PROCESS),
        default=15.0,
    )
    drain_seconds: float = setting(
        "how long requests in flight may take to complete after SIGTERM, in seconds",
        **authority_flag("--drain-seconds", _PROCESS),
        default=20.0,
    )
    shutdown_delay_seconds: float = setting(
        "delay between SIGTERM and connection draining, in seconds; /readyz fails during it, so that load"
        " balancers stop sending requests",
        **authority_flag("--shutdown-delay-seconds", _PROCESS),
        default=0.0,
    )
    tls_poll_seconds: float = setting(
        "how often the certificate and key files are checked for a change, in seconds; SIGHUP checks them"
        " immediately",
        **authority_flag("--tls-poll-seconds", _PROCESS),
        default=5.0,
    )
    log_level: str = setting(
        "debug, info, warning or error", **authority_flag("--log-level", _PROCESS), default="info"
    )
    client_rate: float = setting(
        "average rate of tokens per second for one client ID; 0 for no limit",
        **authority_flag("--client-rate", _LIMITS),
        default=500.0,
    )
    client_burst: int = setting(
        "burst of tokens for one client ID above --client-rate",
        **authority_flag("--client-burst", _LIMITS),
        default=5000,
    )
    source_rate: float = setting(
        "average rate of requests per second from one address; 0 for no limit",
        **authority_flag("--source-rate", _LIMITS),
        default=2000.0,
    )
    source_burst: int = setting(
        "burst of requests from one address above --source-rate",
        **authority_flag("--source-burst", _LIMITS),
        default=10000,
    )
    refused_rate: float = setting(
        "average rate of refused requests, and of connections without a request, per second from one address"
        " before its connections are dropped; ten times as high if the address received a token in the "
        "last ten"
        " minutes; 0 for no limit",
        **authority_flag("--refused-rate", _LIMITS),
        default=10.0,
    )
    refused_burst: int = setting(
        "burst of refused requests from one address above --refused-rate",
        **authority_flag("--refused-burst", _LIMITS),
        default=500,
    )
    penalty_seconds: float = setting(
        "how long connections of such an address are dropped, in seconds",
        **authority_flag("--penalty-seconds", _LIMITS),
        default=30.0,
    )
    connections: int = setting(
        "maximum number of concurrent connections of all workers together",
        **authority_flag("--connections", _LIMITS),
        default=8192,
    )
    source_connections: int = setting(
        "maximum number of concurrent connections of one address, of all workers together, reduced to what"
        " fits into half of the container's memory limit; 0 for no limit",
        **authority_flag("--source-connections", _LIMITS),
        default=1024,
    )
    source_device_codes: int = setting(
        "maximum number of device codes of one address in 15 minutes, of all workers together; 0 for no "
        "limit",
        **authority_flag("--source-device-codes", _LIMITS),
        default=200,
    )

    def __post_init__(self) -> None:
        problems = [*self._address_problems(), *self._number_problems(), *self._tenant_problems()]
        if problems:
            raise SettingsError(problems)

    @property
    def subscription(self) -> str:
        """Return the subscription ID, given or derived from the tenant ID."""
        return self.subscription_id or default_subscription_id(self.tenant_id)

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
                yield f"--trusted-proxy {network!r}: want a network, such as 10.0.0.0/8"
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
            keywords = f"{ANY_MULTIBUFFER}, {NO_MULTIBUFFER}"
            yield f"--multibuffer {self.multibuffer!r}: want {keywords}, or an absolute path"
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
            yield "--admin-listen needs --tenant-id"
