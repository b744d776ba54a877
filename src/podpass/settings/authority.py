"""Settings of the token service."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from podpass import guids
from podpass.clouds import CLOUDS
from podpass.errors import SettingsError
from podpass.http import address_policy
from podpass.settings.fields import authority_flag, setting

# What an assertion may be signed with; Entra takes the first three.
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384")
_WANT_PRIVATE = (
    "want hosts, or networks as 10.20.0.0/16; this machine is 127.0.0.0/8 and ::1/128, and no host"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """Settings of the token service."""

    origins: tuple[str, ...] = setting(
        "origins (https://host[:port]) the service is reached under, the main one first; documents name "
        "the one a client asked, and never any other",
        **authority_flag("--origin", "Where it is reached"),
        default=("https://login.microsoftonline.com",),
    )
    cloud: str = setting(
        "cloud whose names documents and tokens bear, as `az cloud list` calls it",
        flag="--cloud",
        variable="PODPASS_AUTHORITY_CLOUD",
        group="Where it is reached",
        default="AzureCloud",
    )
    token_seconds: int = setting(
        "lifetime of an access token in seconds, 600 to 86399",
        **authority_flag("--token-seconds", "Tokens"),
        default=86399,
    )
    assertion_seconds: int = setting(
        "longest lifetime (exp - iat) of an assertion in seconds",
        **authority_flag("--assertion-seconds", "Tokens"),
        default=25 * 3600,
    )
    assertion_algorithms: tuple[str, ...] = setting(
        "algorithms an assertion may be signed with; Entra takes the RSA ones, ES256 and ES384 are an "
        "extension",
        **authority_flag("--assertion-algorithm", "Tokens"),
        default=("RS256", "RS384", "RS512"),
    )
    uniform_refusals: bool = setting(
        "answer every refusal of a client, from its id to its signature, by one number and on a grid of 100 "
        "ms, so that nobody can try out which clients and credentials there are; Entra tells them apart",
        **authority_flag("--uniform-refusals", "Tokens"),
        default=False,
    )
    early_seconds: int = setting(
        "how far `nbf` and `iat` of an assertion may lie ahead of our clock, in seconds; `exp` is exact",
        **authority_flag("--early-seconds", "Tokens"),
        default=300,
    )
    user_token_seconds: int = setting(
        "lifetime of an access token for a user in seconds, 600 to 86399; Entra's are 60 to 90 minutes",
        **authority_flag("--user-token-seconds", "Tokens"),
        default=75 * 60,
    )
    administrators: tuple[str, ...] = setting(
        "object ids of the users whose tokens say Global Administrator, to whom Graph lets change "
        "everything; a user who is not named here is an ordinary member, whatever database he came with",
        **authority_flag("--administrator", "Tokens"),
        default=(),
    )
    pages_origin: str = setting(
        "origin (https://host[:port]) of the pages on which people sign in, where browsers reach them; "
        "empty for the one a client asked",
        **authority_flag("--pages-origin", "Where it is reached"),
        default="",
    )
    propagation_seconds: int = setting(
        "how long a new federated credential is not seen yet, in seconds; the real directory takes minutes",
        default=0,
    )
    issuer_fresh_seconds: int = setting(
        "how long an issuer's keys are used before a request waits for new ones, which from half of it on "
        "are fetched behind the requests; a withdrawn key works no longer than this",
        **authority_flag("--issuer-fresh-seconds", "Issuers"),
        default=300,
    )
    issuer_stale_seconds: int = setting(
        "how much longer they are used while the issuer is down",
        **authority_flag("--issuer-stale-seconds", "Issuers"),
        default=3600,
    )
    issuer_retry_seconds: int = setting(
        "how long an issuer that failed is left alone; up to six times as long if it fails again and again",
        **authority_flag("--issuer-retry-seconds", "Issuers"),
        default=10,
    )
    issuer_refetch_seconds: int = setting(
        "how often, at most, an unknown key id makes us ask an issuer again",
        **authority_flag("--issuer-refetch-seconds", "Issuers"),
        default=30,
    )
    jwks_origins: tuple[str, ...] = setting(
        "origins besides the issuer's own where an issuer's keys may be",
        **authority_flag("--jwks-origin", "Issuers"),
        default=("https://www.googleapis.com",),
    )
    private_issuers: tuple[str, ...] = setting(
        "issuers' hosts that may have a private address, or networks (10.20.0.0/16) in which any may; "
        "whoever may write a federated credential can make the service connect there",
        flag="--private-issuer",
        variable="PODPASS_AUTHORITY_PRIVATE_ISSUER",
        group="Issuers",
        default=(),
    )
    issuer_ca_file: Path | None = setting(
        "PEM file of an authority that, beside the system's, vouches for those private issuers",
        flag="--issuer-ca-file",
        variable="PODPASS_AUTHORITY_ISSUER_CA_FILE",
        group="Issuers",
        default=None,
    )
    max_body_bytes: int = setting(
        "longest body of a token request in bytes",
        **authority_flag("--max-body-bytes", "Limits"),
        default=64 * 1024,
    )

    def __post_init__(self) -> None:
        checks = (
            (bool(self.origins), "--origin: want at least one"),
            (
                all(re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]+)?", each) for each in self.origins),
                f"--origin {_listed(self.origins)}: want https://host[:port], in lower case, no slash after",
            ),
            (self.cloud in CLOUDS, f"--cloud {self.cloud}: want one of {', '.join(CLOUDS)}"),
            (
                all(_is_private_name(each) for each in self.private_issuers),
                f"--private-issuer {_listed(self.private_issuers)}: {_WANT_PRIVATE}",
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
                f"--administrator {_listed(self.administrators)}: want users' object ids, in lower case",
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
                f"--assertion-algorithm {_listed(self.assertion_algorithms)}: want of {_listed(ALGORITHMS)}",
            ),
            (
                self.max_body_bytes >= 20_000,
                f"--max-body-bytes {self.max_body_bytes}: want 20000 or more",
            ),
        )
        if problems := [problem for fine, problem in checks if not fine]:
            raise SettingsError(problems)


def _listed(texts: tuple[str, ...]) -> str:
    return ",".join(texts)


def _is_private_name(text: str) -> bool:
    if "/" not in text:
        is_host = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", text) is not None
        return is_host and not _opens_nothing(text)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return False
    # A network of every address would be no list.
    return network.prefixlen > 0 and address_policy.may_be_opened(network)


def _opens_nothing(host: str) -> bool:
    """Tell this machine's names, and addresses that no name opens; 127.1 is one, to a resolver."""
    last = host.rpartition(".")[2]
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        return last == "localhost"
    try:
        address_policy.check_address(host, address_policy.PRIVATE)
    except (ValueError, address_policy.NotPublic):
        return True
    return False
