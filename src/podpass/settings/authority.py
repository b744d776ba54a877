"""Settings of the token service."""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podpass import guids
from podpass.clouds import CLOUDS
from podpass.errors import SettingsError
from podpass.http import address_policy
from podpass.settings.fields import authority_flag, setting

# The supported signature algorithms of assertions; Entra accepts the first three.
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384")
_HTTPS_ORIGIN = re.compile(r"https://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?")
HTTPS_URL = re.compile(r"https://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/[!-~]*)?")
WANT_PRIVATE = (
    "want host names, or networks such as 10.20.0.0/16; for this machine use 127.0.0.0/8 and ::1/128,"
    " not localhost"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """Settings of the token service."""

    origins: tuple[str, ...] = setting(
        "origins (https://host[:port]) at which clients reach the service, the main origin first; documents "
        "contain the origin of the request, and no other",
        **authority_flag("--origin", "Addresses"),
        default=("https://login.microsoftonline.com",),
    )
    cloud: str = setting(
        "cloud whose host names documents and tokens contain; a name from `az cloud list`",
        flag="--cloud",
        variable="PODPASS_AUTHORITY_CLOUD",
        group="Addresses",
        default="AzureCloud",
    )
    token_seconds: int = setting(
        "lifetime of an access token in seconds, 600 to 86399",
        **authority_flag("--token-seconds", "Tokens"),
        default=86399,
    )
    assertion_seconds: int = setting(
        "maximum lifetime (exp - iat) of an assertion in seconds",
        **authority_flag("--assertion-seconds", "Tokens"),
        default=25 * 3600,
    )
    assertion_algorithms: tuple[str, ...] = setting(
        "signature algorithms that assertions may have; Entra accepts the RSA algorithms, ES256 and ES384 "
        "are an extension",
        **authority_flag("--assertion-algorithm", "Tokens"),
        default=("RS256", "RS384", "RS512"),
    )
    require_pod_claims: bool = setting(
        "refuse tokens of ServiceAccounts without a pod; AKS may require it (kubernetes#131740)",
        **authority_flag("--require-pod-claims", "Tokens"),
        default=False,
    )
    uniform_refusals: bool = setting(
        "return the same error for every authentication failure, after a multiple of 100 ms, so that a "
        "caller cannot find out which clients and credentials exist; Entra returns different errors",
        **authority_flag("--uniform-refusals", "Tokens"),
        default=False,
    )
    early_seconds: int = setting(
        "how far `nbf` and `iat` of an assertion may be ahead of the service's clock, in seconds; `exp` has "
        "no tolerance",
        **authority_flag("--early-seconds", "Tokens"),
        default=300,
    )
    user_token_seconds: int = setting(
        "lifetime of an access token for a user in seconds, 600 to 86399; in Entra it is 60 to 90 minutes",
        **authority_flag("--user-token-seconds", "Tokens"),
        default=75 * 60,
    )
    administrators: tuple[str, ...] = setting(
        "object IDs of the users whose tokens have the role Global Administrator, with which Graph permits "
        "every change; other users are members without a role in every case",
        **authority_flag("--administrator", "Tokens"),
        default=(),
    )
    pages_origin: str = setting(
        "origin (https://host[:port]) at which browsers reach the sign-in pages; empty for the origin of "
        "the request",
        **authority_flag("--pages-origin", "Addresses"),
        default="",
    )
    graph_origin: str = setting(
        "origin (https://host[:port]) of Microsoft Graph of this directory; empty if it is not served",
        default="",
    )
    propagation_seconds: int = setting(
        "delay until a new federated credential takes effect, in seconds; in Entra it takes minutes",
        default=0,
    )
    issuer_fresh_seconds: int = setting(
        "age of an issuer's cached keys from which a request waits for a fetch, in seconds; from half of it "
        "on, a request starts a fetch in the background; a withdrawn key works no longer than this",
        **authority_flag("--issuer-fresh-seconds", "Issuers"),
        default=300,
    )
    issuer_stale_seconds: int = setting(
        "how much longer cached keys are used while the issuer is unavailable, in seconds",
        **authority_flag("--issuer-stale-seconds", "Issuers"),
        default=3600,
    )
    issuer_retry_seconds: int = setting(
        "delay before an issuer that failed is contacted again, in seconds; it grows up to six times as "
        "long with repeated failures",
        **authority_flag("--issuer-retry-seconds", "Issuers"),
        default=10,
    )
    issuer_refetch_seconds: int = setting(
        "minimum time between two fetches from an issuer because of unknown key IDs, in seconds",
        **authority_flag("--issuer-refetch-seconds", "Issuers"),
        default=30,
    )
    jwks_origins: tuple[str, ...] = setting(
        "origins, besides the issuer's own, at which an issuer may publish its keys",
        **authority_flag("--jwks-origin", "Issuers"),
        default=("https://www.googleapis.com",),
    )
    private_issuers: tuple[str, ...] = setting(
        "host names of issuers that may have private addresses, or networks (10.20.0.0/16) that any "
        "issuer's address may be in; every user who can create a federated credential can make the service "
        "connect there",
        flag="--private-issuer",
        variable="PODPASS_AUTHORITY_PRIVATE_ISSUER",
        group="Issuers",
        default=(),
    )
    issuer_ca_file: Path | None = setting(
        "PEM file of a CA that, in addition to the system's CAs, is trusted for those private issuers",
        flag="--issuer-ca-file",
        variable="PODPASS_AUTHORITY_ISSUER_CA_FILE",
        group="Issuers",
        default=None,
    )
    cluster_issuer: str = setting(
        "issuer of a cluster whose API server the service can reach: the service reads its keys from "
        "/openid/v1/jwks at the issuer's origin and ignores `jwks_uri`; the host may have a private "
        "address; it is `issuer: cluster` in a seed",
        **authority_flag("--cluster-issuer", "Issuers"),
        default="",
    )
    cluster_server: str = setting(
        "origin (https://host[:port]) of the API server, if it is not the origin of --cluster-issuer",
        **authority_flag("--cluster-server", "Issuers"),
        default="",
    )
    cluster_ca_file: Path | None = setting(
        "PEM file of CAs that replace the system's CAs for that API server; read for each fetch",
        **authority_flag("--cluster-ca-file", "Issuers"),
        default=None,
    )
    cluster_token_file: Path | None = setting(
        "file of a ServiceAccount token for that API server, sent to it alone; read for each fetch; not "
        "needed if anonymous callers may read its keys",
        **authority_flag("--cluster-token-file", "Issuers"),
        default=None,
    )
    flexible_kubernetes: tuple[str, ...] = setting(
        "issuers of clusters whose ServiceAccounts the expressions of flexible federated credentials may "
        "match (system:serviceaccount:env-*:NAME); Entra allows no cluster",
        **authority_flag("--flexible-kubernetes", "Issuers"),
        default=(),
    )
    allow_wide: bool = setting(
        "permit expressions of these clusters that do not fix the beginning of the namespace up to a '-'",
        **authority_flag("--allow-wide", "Issuers"),
        default=False,
    )
    max_body_bytes: int = setting(
        "maximum body size of a token request in bytes",
        **authority_flag("--max-body-bytes", "Limits"),
        default=64 * 1024,
    )

    def __post_init__(self) -> None:
        checks = (
            (bool(self.origins), "--origin: want at least one"),
            (
                all(re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]+)?", each) for each in self.origins),
                f"--origin {_join(self.origins)}: want https://host[:port] in lower case, no final slash",
            ),
            (self.cloud in CLOUDS, f"--cloud {self.cloud}: want one of {', '.join(CLOUDS)}"),
            (
                all(is_private_name(each) for each in self.private_issuers),
                f"--private-issuer {_join(self.private_issuers)}: {WANT_PRIVATE}",
            ),
            *self._cluster_checks(),
            (
                all(map(HTTPS_URL.fullmatch, self.flexible_kubernetes)),
                f"--flexible-kubernetes {_join(self.flexible_kubernetes)}: want https URLs, as in `iss`",
            ),
            (
                not self.allow_wide or bool(self.flexible_kubernetes),
                "--allow-wide needs --flexible-kubernetes",
            ),
            (
                600 <= self.token_seconds <= 86399,
                f"--token-seconds {self.token_seconds}: want 600 to 86399",
            ),
            (
                600 <= self.user_token_seconds <= 86399,
                f"--user-token-seconds {self.user_token_seconds}: want 600 to 86399",
            ),
            (
                all(map(guids.is_lower_guid, self.administrators)),
                f"--administrator {_join(self.administrators)}: want object IDs of users, in lower case",
            ),
            (
                not self.pages_origin or self.pages_origin in self.origins,
                f"--pages-origin {self.pages_origin}: want one of the origins",
            ),
            (
                0 <= self.propagation_seconds <= 3600,
                f"propagation_seconds {self.propagation_seconds}: want 0 to 3600",
            ),
            (
                bool(self.assertion_algorithms)
                and set(ALGORITHMS).issuperset(self.assertion_algorithms),
                f"--assertion-algorithm {_join(self.assertion_algorithms)}: want {_join(ALGORITHMS)}",
            ),
            (
                self.max_body_bytes >= 20_000,
                f"--max-body-bytes {self.max_body_bytes}: want 20000 or more",
            ),
        )
        if problems := [problem for is_valid, problem in checks if not is_valid]:
            raise SettingsError(problems)

    def _cluster_checks(self) -> Iterator[tuple[bool, str]]:
        issuer, server = self.cluster_issuer, self.cluster_server
        yield (
            not issuer or HTTPS_URL.fullmatch(issuer) is not None,
            f"--cluster-issuer {issuer}: want an https URL, as `iss` in the cluster's tokens",
        )
        yield (
            not server or _HTTPS_ORIGIN.fullmatch(server) is not None,
            f"--cluster-server {server}: want https://host[:port], no final slash",
        )
        for flag, value in (
            ("--cluster-server", server),
            ("--cluster-ca-file", self.cluster_ca_file),
            ("--cluster-token-file", self.cluster_token_file),
        ):
            yield bool(issuer) or not value, f"{flag} needs --cluster-issuer"


def _join(texts: tuple[str, ...]) -> str:
    return ",".join(texts)


def is_private_name(text: str) -> bool:
    """Return whether `--private-issuer` may have this value: a host name or a network."""
    if "/" not in text:
        is_host = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", text) is not None
        return is_host and not _is_unusable_host(text)
    return is_private_network(text)


def is_private_network(text: str) -> bool:
    """Return whether a text is a network whose addresses a fetcher may be allowed to connect to."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return False
    # A network that contains all addresses would disable the check.
    return network.prefixlen > 0 and address_policy.can_be_allowed(network)


def _is_unusable_host(host: str) -> bool:
    """Return whether a host is localhost, or an address that is never allowed, such as 127.1."""
    last = host.rpartition(".")[2]
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        return last == "localhost"
    try:
        address_policy.check_address(host, address_policy.PRIVATE)
    except (ValueError, address_policy.AddressNotPublic):
        return True
    return False
