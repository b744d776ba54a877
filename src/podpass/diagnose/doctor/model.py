"""Data types of a diagnosis: stages, facts that may be unread, and results."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from podpass.errors import Error

T = TypeVar("T")
Object = dict[str, Any]


class Stage(StrEnum):
    """The stages in the order in which a token passes them."""

    ACCOUNT = "account"
    ADMISSION = "admission"
    ASSERTION = "assertion"
    DIRECTORY = "directory"
    EXCHANGE = "exchange"
    IMDS = "imds"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Unread:
    """A fact that could not be read, with the reason in one clause."""

    reason: str


MaybeObject = Object | Unread | None
"""An object of the cluster; None if it does not exist."""


class FactUnread(Error):
    """A check needs a fact that could not be read; the message has the reason."""

    code = "not_read"


def known(fact: T | Unread) -> T:
    """Return a fact that was read. Raises FactUnread."""
    if isinstance(fact, Unread):
        raise FactUnread(fact.reason)
    return fact


@dataclass(frozen=True, slots=True)
class Problem:
    """What a check found: the object, one sentence, and the command or setting that fixes it."""

    object: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem with the id and the stage of its check."""

    check: str
    stage: Stage
    object: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotChecked:
    """A check whose facts could not be read."""

    check: str
    stage: Stage
    reason: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The results for one workload, in the order of the stages.

    `workload` is `pod NAMESPACE/NAME`, `ServiceAccount NAMESPACE/NAME` or, for a Deployment, `pod template of
    Deployment NAMESPACE/NAME`; `passed` has the ids of the checks that found nothing.
    """

    workload: str
    findings: Sequence[Finding] = ()
    not_checked: Sequence[NotChecked] = ()
    passed: Sequence[str] = ()

    @property
    def is_healthy(self) -> bool:
        """Return whether no check found a problem; some may not have been possible."""
        return not self.findings

    @property
    def is_complete(self) -> bool:
        """Return whether every check was possible that does not depend on the programs of an image."""
        return all(each.optional for each in self.not_checked)
