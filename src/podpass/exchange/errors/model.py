"""The shape of a refusal's row, the order of the checks, and how values from outside are shown in it."""

import re
from dataclasses import dataclass

# The order in which a request is judged, once for code, log and documentation: a request with two faults
# is refused for the earlier one, and nothing is fetched before `trust` has found a credential. A grant
# goes through those it has: a secret has no signature, a client of its own no user.
STEPS = (
    "wire",
    "tenant",
    "request",
    "client",
    "credential",
    "assertion",
    "trust",
    "lifetime",
    "issuer",
    "key",
    "signature",
    "time",
    "grant",
    "user",
    "resource",
)
_STATUS = {"invalid_client": 401, "server_error": 500, "temporarily_unavailable": 503}
_SHOWN_CHARS = 600
_GRANT_CHARS = 64
# A form joined by the wrong sign, or a value in the wrong variable, puts a token where a name belongs.
_TOKEN = re.compile(r"eyJ[\w-]{10,}[\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aadsts:
    """One kind of refusal.

    Shapes:  `text` is a template over the refusal's facts; `step` one of STEPS.
    """

    number: int
    step: str
    error: str
    text: str
    meaning: str
    cure: str

    @property
    def status(self) -> int:
        return status_of(self.error)

    @property
    def name(self) -> str:
        return f"AADSTS{self.number}"


def status_of(error: str) -> int:
    """Give the HTTP status that goes with an OAuth error."""
    return _STATUS.get(error, 400)


def fact(name: str, value: object) -> str:
    """Write one of a refusal's facts for its text."""
    # A grant type is a word; what comes after `;` or `&` is the rest of a form, and may be a secret.
    return shown(
        re.split("[;&]", str(value), maxsplit=1)[0][:_GRANT_CHARS] if name == "grant" else value
    )


def shown(value: object) -> str:
    """Write a value from outside so that it stays one bounded line and shows no token."""
    text = _TOKEN.sub("[token]", value if isinstance(value, str) else str(value))
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
