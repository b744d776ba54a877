"""Shapes of the vault: versions of a secret, and what a caller may set. Times are seconds since 1970."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from podpass.secret import Secret

RECOVERABLE_DAYS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One version of a secret.

    Shapes:  `version` is 32 hex digits; `ordinal` grows with every version written, so the latest version
             is the one with the highest, whatever the clock said. `deleted` and `purge_on` are set for all
             versions of a deleted secret.
    """

    vault: str
    name: str
    version: str
    ordinal: int
    value: Secret
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None
    created: int = 0
    updated: int = 0
    deleted: int | None = None
    purge_on: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller sets; a field that is absent from `given` is left as it is, or at its default."""

    given: frozenset[str]
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None
