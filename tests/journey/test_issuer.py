"""The issuer from the outside: through the gateway, under its host name, with only the CA."""

import json
import sys

from podpass.crypto import jose
from tests.journey.instance import AUDIENCE, Instance

# A program without podpass code: proxy and CA come from the variables of `podpass run`.
_READ = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"


def _fetch(instance: Instance, url: str) -> dict[str, object]:
    done = instance.podpass("run", "--", sys.executable, "-c", _READ, url)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_issuer_publishes_discovery_document_and_keys_of_its_tokens(instance: Instance) -> None:
    issuer = instance.status["kubernetes"]["issuer"]
    document = _fetch(instance, f"{issuer}.well-known/openid-configuration")
    assert document["issuer"] == issuer
    keys = jose.load_jwks(_fetch(instance, str(document["jwks_uri"])))
    token = jose.parse(instance.token("web"))
    (key,) = [each for each in keys if each.kid == token.kid]
    jose.verify(token, key)
    assert token.claims["iss"] == issuer
    assert token.claims["aud"] == [AUDIENCE]
