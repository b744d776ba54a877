"""The named issuers and the platforms of pipelines of an instance, in one file of its data directory."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from podpass import files
from podpass.directory.model import WriteResult
from podpass.errors import Error
from podpass.seed.section import SeedEntry

_MAX_BYTES = 1024 * 1024
# The name of the registry in the data of a seed.
ISSUERS = "issuers"


class IssuersUnreadable(Error):
    """The file of the named issuers cannot be read."""

    code = "issuers_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedIssuer:
    """An issuer, with the place of its documents.

    `url` is the exact `iss` of its tokens. `server` is the URL below which an API server, or another server
    that its user names, publishes both documents at the paths of an API server; empty if they are below
    `url`. `folder` is a folder with both documents. `addresses` are networks in which the host
    of this issuer may have an address.
    """

    url: str
    server: str = ""
    folder: str = ""
    ca_file: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerEntry(SeedEntry):
    """A named issuer of a seed file."""

    issuer: NamedIssuer


class IssuerRegistry:
    """The named issuers by URL, and the platforms of pipelines; without a path, only in memory.

    `on_change` is called after each change: keys that were fetched before are out of date.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.issuers: dict[str, NamedIssuer] = {}
        self.platforms: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            stored = json.loads(files.read_regular(path, _MAX_BYTES))
            for raw in stored["issuers"]:
                issuer = NamedIssuer(**{**raw, "addresses": tuple(raw["addresses"])})
                self.issuers[issuer.url] = issuer
            self.platforms.update(map(str, stored["platforms"]))
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise IssuersUnreadable(
                f"{path}: the issuers of the seed cannot be read: {type(exc).__name__}",
                hint="remove the file, and apply the seed again",
            ) from exc

    def put(self, issuer: NamedIssuer) -> WriteResult:
        """Create or replace an issuer."""
        old = self.issuers.get(issuer.url)
        if old == issuer:
            return WriteResult.UNCHANGED
        self.issuers[issuer.url] = issuer
        self._changed()
        return WriteResult.UPDATED if old else WriteResult.CREATED

    def put_platform(self, platform: str) -> WriteResult:
        """Add a platform whose tokens the instance signs."""
        if platform in self.platforms:
            return WriteResult.UNCHANGED
        self.platforms.add(platform)
        self._changed()
        return WriteResult.CREATED

    def replace(self, other: "IssuerRegistry") -> None:
        """Take the content of another registry."""
        if (self.issuers, self.platforms) == (other.issuers, other.platforms):
            return
        self.issuers, self.platforms = dict(other.issuers), set(other.platforms)
        self._changed()

    def _changed(self) -> None:
        if self._path is not None:
            stored = {
                "issuers": [asdict(each) for each in self.issuers.values()],
                "platforms": sorted(self.platforms),
            }
            files.write_private(self._path, json.dumps(stored, indent=2).encode())
        self.on_change()
