"""The caller of a management API, as read from a validated access token.

The APIs receive an `Admit` function: the guard, in another stage, validates tokens.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from podpass.errors import Error

# A directory role, by its template id.
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The caller, from a validated access token.

    `roles` are application permissions, `scopes` delegated permissions, `wids` a user's directory roles
    (template ids); `name` and `token_id` (the token's `uti`) are for logs only, never for a decision.
    """

    object_id: str
    app_id: str
    tenant_id: str
    name: str
    is_user: bool = False
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    wids: frozenset[str] = frozenset()
    token_id: str = ""


class Reason(StrEnum):
    """Why a caller is not admitted."""

    MISSING = "missing"
    INVALID = "invalid"
    EXPIRED = "expired"
    AUDIENCE = "audience"
    TENANT = "tenant"
    UNAVAILABLE = "unavailable"


class NotAdmitted(Error):
    """The request has no access token that this API accepts."""

    code = "not_admitted"
    status = 401
    hint = "request a token for this API from the tenant's token endpoint and send it as a bearer token"

    def __init__(self, message: str, *, reason: Reason, **facts: object) -> None:
        super().__init__(message)
        self.facts = {"reason": reason.value, **facts}
        self.reason = reason


# Takes the values of the Authorization headers. Returns the caller or raises NotAdmitted.
Admit = Callable[[Sequence[str]], Awaitable[Caller]]
