"""The parameters of a token request: which identity and which resource. Pure.

Unlike azure-workload-identity, the sidecar refuses ambiguous parameters, and IDs that it does not know:
otherwise, the response could be a token of another identity.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_plus

from podpass import guids
from podpass.errors import Error

MAX_QUERY_CHARS = 8192
MAX_PARAMETERS = 100
_DEFAULT_SCOPE = "/.default"
# azure-workload-identity drops a parameter with one of these, and returns a token of the pod's identity.
_MALFORMED = re.compile(r";|%(?![0-9A-Fa-f]{2})")
# A managed identity has an object ID and a resource ID in Azure; the sidecar knows only client IDs.
_OTHER_IDS = ("object_id", "principal_id", "msi_res_id", "mi_res_id")
_READ = frozenset(("client_id", "resource", "api-version", *_OTHER_IDS))
# The name in App Service's protocol of 2017-09-01.
_ALIASES = {"clientid": "client_id"}


class BadTokenQuery(Error):
    """A token request that cannot succeed, whatever the authority responds; `kind` is IMDS' error code."""

    code = "bad_token_query"
    status = 400

    def __init__(self, message: str, kind: str = "invalid_request") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class TokenQuery:
    """The identity and the resource of a token request, as the client wrote them.

    `is_default` says whether the client named no identity.
    """

    client_id: str
    resource: str
    is_default: bool = False

    @property
    def scope(self) -> str:
        """Return the scope of the resource. A trailing slash is part of it, and of Entra's audience."""
        if self.resource.endswith(_DEFAULT_SCOPE):
            return self.resource
        return self.resource + _DEFAULT_SCOPE


@dataclass(frozen=True, slots=True)
class ManagedIdentityQuery:
    """The resource of a token request, and the ID by which it selects an identity.

    `selector` is `client_id`, `object_id`, `resource_id`, or empty.
    """

    resource: str
    selector: str = ""
    value: str = ""


_SELECTORS = {
    "client_id": "client_id",
    "object_id": "object_id",
    "principal_id": "object_id",
    "mi_res_id": "resource_id",
    "msi_res_id": "resource_id",
}


def parse_identity_query(query: str) -> ManagedIdentityQuery:
    """Parse the query of a request to an endpoint that knows identities by all their IDs.

    Raises BadTokenQuery.
    """
    values = _parse("query", query)
    if not values.get("api-version"):
        raise BadTokenQuery("The api-version parameter is required.")
    given = [(name, values[name]) for name in _SELECTORS if values.get(name)]
    if len(given) > 1:
        raise BadTokenQuery(
            "Only one of client_id, object_id and mi_res_id can select an identity."
        )
    resource = _check_resource(values.get("resource", ""))
    if not given:
        return ManagedIdentityQuery(resource)
    return ManagedIdentityQuery(resource, _SELECTORS[given[0][0]], given[0][1])


# A program sends the same query again for each token.
@lru_cache(maxsize=32)
def parse_token_query(query: str, default_client_id: str, form: str = "") -> TokenQuery:
    """Parse the query and the form of a token request; without `client_id`, the pod's own is used.

    Raises BadTokenQuery.
    """
    values = _merge(_parse("query", query), _parse("form", form))
    if other := next((name for name in _OTHER_IDS if values.get(name)), ""):
        raise BadTokenQuery(
            f"The parameter {other} is not supported: the sidecar knows identities by their client ID."
            " Use only the client_id parameter."
        )
    named = values.get("client_id", "")
    client_id = named or default_client_id
    if not client_id:
        raise BadTokenQuery(
            "The client_id parameter or AZURE_CLIENT_ID environment variable must be set"
        )
    resource = values.get("resource", "")
    if not resource:
        raise BadTokenQuery("The resource parameter is required.")
    if not guids.is_guid(client_id):
        raise BadTokenQuery(f"The client ID {client_id[:64]!r} is not a GUID.")
    return TokenQuery(client_id, _check_resource(resource), is_default=not named)


def _check_resource(resource: str) -> str:
    if not resource:
        raise BadTokenQuery("The resource parameter is required.")
    # The scope of a token request is a list that blanks separate.
    if not resource.isprintable() or " " in resource:
        raise BadTokenQuery("The resource must be one URI or GUID.", "invalid_resource")
    return resource


def _merge(query: dict[str, str], form: dict[str, str]) -> dict[str, str]:
    for name in query.keys() & form.keys():
        if query[name] != form[name]:
            raise BadTokenQuery(f"The query and the form have different values of {name}.")
    return query | form


def _parse(source: str, text: str) -> dict[str, str]:
    """Return the parameters that the sidecar reads; `source` is the name for messages."""
    if len(text) > MAX_QUERY_CHARS:
        raise BadTokenQuery(f"The {source} is longer than {MAX_QUERY_CHARS} characters.")
    if text.count("&") > MAX_PARAMETERS:
        raise BadTokenQuery(f"The {source} has more than {MAX_PARAMETERS} parameters.")
    found: dict[str, str] = {}
    for name, value in _pairs(source, text):
        if name in found:
            raise BadTokenQuery(f"The {source} contains the parameter {name} more than once.")
        if name in _READ:
            found[name] = value
    return found


def _pairs(source: str, text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        name = unquote_plus(name).lower()
        if _MALFORMED.search(pair):
            raise BadTokenQuery(
                f"The {source} contains a malformed parameter: {name[:32]!r}. Percent-encode `;` and `%`."
            )
        yield _ALIASES.get(name, name), unquote_plus(value)
