"""The program of the pod of `podpass cloud demo`: it needs nothing but Python, and knows nothing of podpass.

It is given to the pod as text. Each step is one line of JSON; no line contains a token.
"""

import base64
import json
import os
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request


def show(step: str, **facts: object) -> None:
    """Print a step."""
    print(json.dumps({"step": step, **facts}), flush=True)


def fetch(url: str, form: dict[str, str] | None = None, token: str = "") -> dict[str, object]:
    """Send a request; return its answer, or end with the message of the error."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            answer: dict[str, object] = json.load(response)
            return answer
    except urllib.error.HTTPError as exc:
        refused = json.load(exc)
        error = refused.get("error")
        text = error.get("message") if isinstance(error, dict) else None
        sys.exit(str(text or refused.get("error_description") or exc).splitlines()[0])
    except urllib.error.URLError as exc:
        sys.exit(f"{urllib.parse.urlsplit(url).hostname}: {exc.reason}")


def main(vault: str, secret: str) -> None:
    """Exchange the token of the pod, and read a secret."""
    with open(os.environ["AZURE_FEDERATED_TOKEN_FILE"]) as file:
        assertion = file.read().strip()
    part = assertion.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    audience = claims["aud"] if isinstance(claims["aud"], str) else ", ".join(claims["aud"])
    show("assertion", iss=claims["iss"], sub=claims["sub"], aud=audience)
    login, host = os.environ["AZURE_AUTHORITY_HOST"].rstrip("/"), f"{vault}.vault.azure.net"
    for name in (urllib.parse.urlsplit(login).hostname or "", host):
        try:
            found = socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
            show("name", name=name, address=found[0][4][0])
        except OSError as exc:
            sys.exit(f"{name} does not resolve: {exc}")
    form = {
        "grant_type": "client_credentials",
        "client_id": os.environ["AZURE_CLIENT_ID"],
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
        "scope": "https://vault.azure.net/.default",
    }
    token = fetch(f"{login}/{os.environ['AZURE_TENANT_ID']}/oauth2/v2.0/token", form)
    show("exchange", seconds=token["expires_in"])
    url = f"https://{host}/secrets/{secret}?api-version=7.4"
    show("resource", value=fetch(url, token=str(token["access_token"]))["value"])


if __name__ == "__main__":
    main(*sys.argv[1:])
