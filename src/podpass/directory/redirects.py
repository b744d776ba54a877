"""Where a code may be sent after a sign-in: what an application can register as a redirect URI. Pure.

Source:  https://learn.microsoft.com/entra/identity-platform/reply-url
"""

import re
from urllib.parse import urlsplit

PUBLIC = "publicClient"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PLAIN = re.compile(r'[!"$-\[\]-~]+')
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
# Besides https; brokers of Windows and of Microsoft's applications take the answer for a web page.
_OF_PAGES = re.compile(r"urn|ms-appx-web|brk-[a-z0-9-]+")
# A browser would run or open these itself, in the place of a program that takes the answer.
_OPENED = frozenset(
    ("javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source")
)


def fault(platform: str, uri: str) -> str | None:
    """Say what a redirect URI has to be that it is not; None if nothing.

    Shapes:  `platform` is `web`, `spa` or `publicClient`; programs of the last have schemes of their own.
    """
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return "a URI"
    # Browsers read a backslash as a slash, and pass over blanks: what is shown would not be what is meant.
    if not _PLAIN.fullmatch(uri):
        return "plain signs, without blanks, '#' and '\\'"
    if not _SCHEME.fullmatch(parts.scheme) or parts.scheme in _OPENED:
        return "https, or http at localhost"
    if "*" in parts.netloc:
        return "the whole host: it is compared letter by letter, and '*' stands for nothing"
    if "@" in parts.netloc:
        return "no user name before its host"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "https: http is for localhost, 127.0.0.1 and [::1] only"
    if parts.scheme == "https" and not host:
        return "a URI with a host"
    if parts.scheme in ("http", "https") or platform == PUBLIC:
        return None
    return None if _OF_PAGES.fullmatch(parts.scheme) else "https, or http at localhost"
