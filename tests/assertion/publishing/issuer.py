"""An issuer in a folder, with a clock that the test sets, and verifiers that cache its keys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from podpass.assertion.publishing import config as config_file
from podpass.assertion.publishing import documents, setup
from podpass.assertion.publishing.api_servers import ApiServerKeys
from podpass.assertion.publishing.config import IssuerConfig
from podpass.assertion.publishing.key_folder import KeyFolder
from podpass.assertion.publishing.model import ClockReading, IssuerState, RotationWaits, SigningMode
from podpass.assertion.publishing.plan import RotationWait
from podpass.assertion.publishing.rotation import Rotation, RotationRequest, RotationTools
from podpass.assertion.publishing.targets import open_target
from podpass.crypto import jose

ISSUER = "https://oidc.example/cluster/"
START = 1_900_000_000.0
WAITS = RotationWaits(cache_seconds=1000, refresh_seconds=60, token_seconds=3600)


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def read(self) -> ClockReading:
        return ClockReading(seconds=self.now)


@dataclass
class Issuer:
    """The key folder of an issuer, and the API servers that a test describes with `observed`."""

    folder: KeyFolder
    clock: Clock
    config: IssuerConfig
    observed: Callable[[], Sequence[ApiServerKeys]] = tuple
    log: list[str] = field(default_factory=list)

    @property
    def state(self) -> IssuerState:
        return self.folder.read_state()

    def tools(self) -> RotationTools:
        target = open_target(self.config.target, self.folder.root, {})
        return RotationTools(
            folder=self.folder,
            config=self.config,
            target=target,
            read_clock=self.clock.read,
            observe=self.observed,
            log=self.log.append,
            environ={},
        )

    def rotate(self, **request: Any) -> RotationWait | None:
        """Run a rotation once."""
        return Rotation(self.tools(), RotationRequest(**request)).run()

    def rotate_to_end(self, **request: Any) -> None:
        """Run a rotation, and set the clock to the end of each wait."""
        wait = self.rotate(**request)
        while wait is not None:
            assert wait.until > self.clock.now, wait
            self.clock.now = wait.until
            wait = self.rotate(start=False)

    def published(self) -> list[str]:
        """Return the key IDs that verifiers can fetch now, none if nothing is published."""
        path = self.folder.root / "published" / documents.JWKS
        return documents.key_ids(path.read_bytes()) if path.exists() else []

    def sign(self) -> str:
        """Sign a token as the API server does now."""
        key = self.folder.read_private(self.state.active.kid)
        now = int(self.clock())
        return key.sign({"iss": ISSUER, "iat": now, "exp": now + WAITS.token_seconds, "aud": "a"})


class CachingVerifier:
    """A verifier that fetches the keys only when its cache has expired, and never for an unknown key."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._fetched = float("-inf")
        self._keys: dict[str, jwt.PyJWK] = {}

    def verify(self, token: str) -> None:
        """Verify a token with the cached keys; raise if its key is not among them."""
        now = self._issuer.clock()
        if now - self._fetched >= WAITS.cache_seconds:
            path = self._issuer.folder.root / "published" / documents.JWKS
            entries = jose.loads_object(path.read_bytes())["keys"]
            self._keys = {entry["kid"]: jwt.PyJWK(entry) for entry in entries}
            self._fetched = now
        kid = jwt.get_unverified_header(token)["kid"]
        assert kid in self._keys, "no verifier may see a token whose key it cannot find"
        options: Any = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
        jwt.decode(token, self._keys[kid], algorithms=["RS256"], options=options)


def create(root: Path, signing: SigningMode = SigningMode.SIGNER, **more: Any) -> Issuer:
    """Create an issuer whose documents are not published yet."""
    config = IssuerConfig(
        issuer=ISSUER, target="folder:published", signing=signing, waits=WAITS, **more
    )
    setup.create(root, config, imported=None, bits=2048, now=START)
    folder = KeyFolder(root)
    clock = Clock()
    folder.write_state(
        IssuerState(keys=folder.read_state().keys, clock=ClockReading(seconds=START))
    )
    return Issuer(folder=folder, clock=clock, config=config_file.read(root))
