"""Settings of the token service."""

import re
from dataclasses import dataclass

from podpass.errors import SettingsError
from podpass.settings.fields import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySettings:
    """Settings of the token service."""

    origins: tuple[str, ...] = setting(
        "origins (https://host[:port]) the service is reached under, the main one first; documents name "
        "the one a client asked, and never any other",
        default=("https://login.microsoftonline.com",),
    )
    token_seconds: int = setting(
        "lifetime of an access token in seconds, 600 to 86399",
        default=86399,
    )
    assertion_seconds: int = setting(
        "longest lifetime (exp - iat) of an assertion in seconds",
        default=25 * 3600,
    )
    assertion_algorithms: tuple[str, ...] = setting(
        "algorithms an assertion may be signed with; Entra takes the RSA ones, ES256 and ES384 are an "
        "extension",
        default=("RS256", "RS384", "RS512"),
    )
    early_seconds: int = setting(
        "how far `nbf` and `iat` of an assertion may lie ahead of our clock, in seconds; `exp` is exact",
        default=300,
    )
    user_token_seconds: int = setting(
        "lifetime of an access token for a user in seconds, 600 to 86399; Entra's are 60 to 90 minutes",
        default=75 * 60,
    )
    pages_origin: str = setting(
        "origin (https://host[:port]) of the pages on which people sign in, where browsers reach them; "
        "empty for the one a client asked",
        default="",
    )
    propagation_seconds: int = setting(
        "how long a new federated credential is not seen yet, in seconds; the real directory takes minutes",
        default=0,
    )
    issuer_fresh_seconds: int = setting(
        "how long an issuer's keys are used without asking again; a withdrawn key works no longer than this",
        default=300,
    )
    issuer_stale_seconds: int = setting(
        "how much longer they are used while the issuer is down",
        default=3600,
    )
    issuer_retry_seconds: int = setting(
        "how long an issuer that failed is left alone",
        default=10,
    )
    issuer_refetch_seconds: int = setting(
        "how often, at most, an unknown key id makes us ask an issuer again",
        default=30,
    )
    jwks_origins: tuple[str, ...] = setting(
        "origins besides the issuer's own where an issuer's keys may be",
        default=("https://www.googleapis.com",),
    )
    max_body_bytes: int = setting(
        "longest body of a token request in bytes",
        default=64 * 1024,
    )

    def __post_init__(self) -> None:
        known = {"RS256", "RS384", "RS512", "ES256", "ES384"}
        checks = (
            (bool(self.origins), "origins: want at least one"),
            (
                all(re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]+)?", each) for each in self.origins),
                f"origins {self.origins}: want https://host or https://host:port, lower case, no path",
            ),
            (
                600 <= self.token_seconds <= 86399,
                f"token_seconds {self.token_seconds}: want 600 to 86399",
            ),
            (
                600 <= self.user_token_seconds <= 86399,
                f"user_token_seconds {self.user_token_seconds}: want 600 to 86399",
            ),
            (
                not self.pages_origin or self.pages_origin in self.origins,
                f"pages_origin {self.pages_origin}: want one of the origins",
            ),
            (
                0 <= self.propagation_seconds <= 3600,
                f"propagation_seconds {self.propagation_seconds}: want 0 to 3600",
            ),
            (
                bool(self.assertion_algorithms) and known.issuperset(self.assertion_algorithms),
                f"assertion_algorithms {self.assertion_algorithms}: want some of {sorted(known)}",
            ),
            (
                self.max_body_bytes >= 20_000,
                f"max_body_bytes {self.max_body_bytes}: want 20000 or more",
            ),
        )
        if problems := [problem for fine, problem in checks if not fine]:
            raise SettingsError(problems)
