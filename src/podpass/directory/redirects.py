"""Rules for the redirect URIs of applications. Pure.

Source:  https://learn.microsoft.com/entra/identity-platform/reply-url
"""

import re
from urllib.parse import urlsplit

PUBLIC = "publicClient"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PLAIN = re.compile(r'[!"$-\[\]-~]+')
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# Schemes for web platforms in addition to https: brokers of Windows and Microsoft receive the response for a
# web page.
_BROKERS = re.compile(r"urn|ms-appx-web|brk-[a-z0-9-]+")
# A browser would open these itself, without an application.
_BROWSER_SCHEMES = frozenset(
    ("javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source")
)


def redirect_fault(platform: str, uri: str) -> str | None:
    """Return the requirement that a redirect URI does not meet, or None if the URI is valid.

    `platform` is `web`, `spa` or `publicClient`. A public client may use a custom scheme.
    """
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return "a URI"
    # Browsers read a backslash as a slash and ignore spaces, so the real target would differ from the text.
    if not _PLAIN.fullmatch(uri):
        return "ASCII characters without spaces, '#' and '\\'"
    if not _SCHEME.fullmatch(parts.scheme) or parts.scheme in _BROWSER_SCHEMES:
        return "https, or http at localhost"
    if "*" in parts.netloc:
        return "a complete host: hosts are compared exactly, and '*' matches nothing"
    if "@" in parts.netloc:
        return "no user name before its host"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "https: http is for localhost, 127.0.0.1 and [::1] only"
    if parts.scheme == "https" and not host:
        return "a URI with a host"
    if parts.scheme in ("http", "https") or platform == PUBLIC:
        return None
    return None if _BROKERS.fullmatch(parts.scheme) else "https, or http at localhost"
