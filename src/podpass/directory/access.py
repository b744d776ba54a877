"""Who calls an API of the directory, as whoever checked the token says.

The APIs get `Admit` handed in: checking tokens is the guard's trade, in another stage.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from podpass.errors import Error

# A directory role, by its template id.
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, out of a checked access token.

    Shapes:  `roles` are application permissions, `scopes` delegated ones, `wids` a user's directory
             roles (template ids); `name` is for the audit, never for a decision.
    """

    object_id: str
    app_id: str
    tenant_id: str
    name: str
    is_user: bool = False
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    wids: frozenset[str] = frozenset()


class Reason(StrEnum):
    """Why a caller is not let in."""

    MISSING = "missing"
    INVALID = "invalid"
    EXPIRED = "expired"
    AUDIENCE = "audience"
    TENANT = "tenant"
    UNAVAILABLE = "unavailable"


class NotAdmitted(Error):
    """The request carries no access token that opens this API."""

    code = "not_admitted"
    status = 401
    hint = "ask the tenant's token endpoint for a token for this API and send it as a bearer token"

    def __init__(self, message: str, *, reason: Reason, **facts: object) -> None:
        super().__init__(message)
        self.facts = {"reason": reason.value, **facts}
        self.reason = reason


# The values of the request's Authorization headers in; the caller out, or NotAdmitted.
Admit = Callable[[Sequence[str]], Awaitable[Caller]]
