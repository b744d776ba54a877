"""The query of a token request: which identity and which resource. Pure.

Unlike the reference, the sidecar refuses a parameter that names an identity in a way that it cannot serve:
the response would be a token of another identity.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from podpass import guids
from podpass.errors import Error

MAX_QUERY_CHARS = 8192
_DEFAULT_SCOPE = "/.default"
# Go ignores a parameter with one of these.
_MALFORMED = re.compile(r";|%(?![0-9A-Fa-f]{2})")
# A managed identity has an object ID and a resource ID in Azure; the sidecar knows only client IDs.
_OTHER_IDS = ("object_id", "principal_id", "msi_res_id", "mi_res_id")


class BadTokenQuery(Error):
    """A token request that cannot succeed, whatever the authority responds; `kind` is IMDS' error code."""

    code = "bad_token_query"
    status = 400

    def __init__(self, message: str, kind: str = "invalid_request") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class TokenQuery:
    """The identity and the resource of a token request, as the client wrote them."""

    client_id: str
    resource: str

    @property
    def scope(self) -> str:
        """Return the scope of the resource. A trailing slash is part of it, and of Entra's audience."""
        if self.resource.endswith(_DEFAULT_SCOPE):
            return self.resource
        return self.resource + _DEFAULT_SCOPE


def parse_token_query(query: str, default_client_id: str) -> TokenQuery:
    """Parse the query of a token request; without `client_id`, the pod's own client ID is used.

    Errors:  BadTokenQuery.
    """
    if len(query) > MAX_QUERY_CHARS:
        raise BadTokenQuery(f"The query is longer than {MAX_QUERY_CHARS} characters.")
    pairs = [pair for pair in query.split("&") if pair and not _MALFORMED.search(pair)]
    values = parse_qs("&".join(pairs)) if query.count("&") < 100 else {}
    client_id = _first(values, "client_id")
    other = next((name for name in _OTHER_IDS if _first(values, name)), "")
    if other and not client_id:
        raise BadTokenQuery(
            f"The parameter {other} is not supported: the sidecar knows identities by their client ID."
            " Use the client_id parameter."
        )
    client_id = client_id or default_client_id
    if not client_id:
        raise BadTokenQuery(
            "The client_id parameter or AZURE_CLIENT_ID environment variable must be set"
        )
    resource = _first(values, "resource")
    if not resource:
        raise BadTokenQuery("The resource parameter is required.")
    if not guids.is_guid(client_id):
        raise BadTokenQuery(f"The client ID {client_id[:64]!r} is not a GUID.")
    # The scope of a token request is a list that blanks separate.
    if not resource.isprintable() or " " in resource:
        raise BadTokenQuery("The resource must be one URI or GUID.", "invalid_resource")
    return TokenQuery(client_id, resource)


def _first(values: dict[str, list[str]], name: str) -> str:
    return values.get(name, [""])[0]
