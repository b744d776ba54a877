"""The checks of every request to the console before anything is served. Pure.

Any page that a browser shows can send requests to loopback. The Host header stops names that another site
resolves to loopback (DNS rebinding), the Origin header stops forms of other sites, and the cookie stops
everything else.
"""

from podpass.http.server import Scope, header, header_values

_SAFE = ("GET", "HEAD")
_PREFETCH = ("prefetch", "prerender", "preview")
_COOKIE_CHARS = 64


def is_expected_host(scope: Scope, hosts: frozenset[str]) -> bool:
    """Return whether the request has exactly one Host header, and it is one of these."""
    given = header_values(scope, b"host")
    return len(given) == 1 and given[0].lower() in hosts


def is_own_origin(scope: Scope, scheme: str, hosts: frozenset[str]) -> bool:
    """Return whether a request may change state: its Origin is the console's own."""
    given = header_values(scope, b"origin")
    own = {f"{scheme}://{host}" for host in hosts if host == header(scope, b"host")}
    return len(given) == 1 and given[0] in own


def is_from_other_site(scope: Scope) -> bool:
    """Return whether the browser reports that a page of another site sends the request.

    A link in another page may lead here: that is a navigation, and the browser omits the cookie.
    """
    site = header(scope, b"sec-fetch-site")
    is_navigation = header(scope, b"sec-fetch-mode") == "navigate" and scope["method"] in _SAFE
    return site in ("cross-site", "same-site") and not is_navigation


def is_prefetch(scope: Scope) -> bool:
    """Return whether the browser only loads the page in advance: that must not use up a link."""
    purpose = header(scope, b"sec-purpose") or header(scope, b"purpose") or ""
    return any(word in purpose.lower() for word in _PREFETCH)


def read_cookie(scope: Scope, name: str, max_chars: int = _COOKIE_CHARS) -> str:
    """Return the value of a cookie; empty if the request has none, several, or a longer one."""
    found = [
        value
        for line in header_values(scope, b"cookie")
        for key, _, value in (part.strip().partition("=") for part in line.split(";"))
        if key == name
    ]
    return found[0] if len(found) == 1 and len(found[0]) <= max_chars else ""
