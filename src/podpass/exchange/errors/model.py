"""The table of errors, its entries, the order of the checks, and the sanitizing of untrusted values."""

import re
import tomllib
from dataclasses import dataclass
from importlib import resources

DATA = tomllib.loads(resources.files(__package__).joinpath("errors.toml").read_text("utf-8"))

# The order of the checks, for code, log and documentation. A request with two errors fails with the earlier
# one, and nothing is fetched before `trust` has found a credential. Each grant runs only the steps that
# apply to it: a secret has no signature, the client credentials grant has no user.
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
# A form with a wrong separator, or a value in the wrong variable, can put a token in the place of a name.
_TOKEN = re.compile(r"eyJ[\w-]{10,}[\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AadstsEntry:
    """One error of the catalogue.

    `text` is a template for the error's facts; `step` is one of STEPS; `suberror` is for MSAL: the next
    action of the user.
    """

    number: int
    step: str
    error: str
    text: str
    cause: str
    resolution: str
    suberror: str = ""

    @property
    def status(self) -> int:
        return http_status(self.error)

    @property
    def name(self) -> str:
        return f"AADSTS{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraOnlyEntry:
    """An error that only Entra returns."""

    number: int
    error: str
    cause: str
    resolution: str


def http_status(error: str) -> int:
    """Return the HTTP status of an OAuth error."""
    return _STATUS.get(error, 400)


def format_fact(name: str, value: object) -> str:
    """Format a fact of an error for its text."""
    # A grant type is one word. The text after `;` or `&` is the rest of a form, and may be a secret.
    return sanitize(
        re.split("[;&]", str(value), maxsplit=1)[0][:_GRANT_CHARS] if name == "grant" else value
    )


def sanitize(value: object) -> str:
    """Format an untrusted value as one line of bounded length without tokens."""
    text = _TOKEN.sub("[token]", value if isinstance(value, str) else str(value))
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
