"""The commands that read the inside of a container, and the parser of what they print. Pure.

The command prints the header and the claims of the token. Its signature is cut off inside the container, so
no usable token leaves the pod.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence

import orjson

from podpass import names
from podpass.diagnose.doctor.model import ConnectionResult, ContainerFacts, PodToken
from podpass.facts import Unread

VARIABLES = (
    names.ENV_CLIENT_ID,
    names.ENV_TENANT_ID,
    names.ENV_TOKEN_FILE,
    names.ENV_AUTHORITY_HOST,
    names.ENV_TOKEN_PROXY,
)
_MARK = "podpass-doctor"
_TOKEN_FILE = f"{names.MOUNT_PATH}/{names.TOKEN_PATH}"
_MAX_CHARS = 300
_MAX_CLOCK_DIGITS = 12
_MISSING, _UNREADABLE = "missing", "unreadable"
# Libraries of Python and Node, which the interpreter itself can name.
_PYTHON = """
import importlib.metadata as m
for name in ("azure-identity", "msal", "adal", "msrestazure"):
    try:
        print("podpass-doctor lib python:%s %s" % (name, m.version(name)))
    except m.PackageNotFoundError:
        pass
"""
_CONNECT = """
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=3).close()
    error = ""
except urllib.error.HTTPError:
    error = ""
except Exception as exc:
    error = " ".join(str(getattr(exc, "reason", exc)).split())
print("podpass-doctor net", sys.argv[1], error, flush=True)
"""
# For images with Python and without a shell.
_PYTHON_ALONE = """
import os, subprocess, sys, time
def show(*words):
    print("podpass-doctor", *words, flush=True)
variables, default, libraries, connect = sys.argv[1:]
for name in variables.split():
    show("env", name + "=" + os.environ.get(name, ""))
file = os.environ.get("AZURE_FEDERATED_TOKEN_FILE") or default
if not os.path.exists(file):
    show("token missing")
else:
    try:
        with open(file) as content:
            show("token", content.read().rpartition(".")[0])
    except OSError:
        show("token unreadable")
show("clock", int(time.time()))
show("has python")
exec(libraries)
host = os.environ.get("AZURE_AUTHORITY_HOST", "").rstrip("/")
if host:
    tenant = os.environ.get("AZURE_TENANT_ID") or "common"
    sys.argv[1:] = [host + "/" + tenant + "/v2.0/.well-known/openid-configuration"]
    exec(connect)
show("end")
"""
_NODE = """
const names = ["@azure/identity", "@azure/msal-node", "@azure/ms-rest-nodeauth", "adal-node",
  "ms-rest-azure"];
for (const name of names)
  try { console.log("podpass-doctor lib node:" + name + " " + require(name + "/package.json").version) }
  catch {}
"""
# Only shell built-ins, so that the smallest images can run it; other programs are used where they exist.
_SHELL = r"""
m=podpass-doctor
for n in %(variables)s; do eval "v=\${$n-}"; echo "$m env $n=$v"; done
f=${AZURE_FEDERATED_TOKEN_FILE:-%(token_file)s}
if [ ! -e "$f" ]; then echo "$m token missing"
elif t= && IFS= read -r t 2>/dev/null <"$f" || [ -n "$t" ]; then echo "$m token ${t%%.*}"
else echo "$m token unreadable"; fi
echo "$m clock $(date +%%s 2>/dev/null)"
u=${AZURE_AUTHORITY_HOST-}
u=${u%%/}
connect() {
  if command -v curl >/dev/null; then
    e=$(curl -sS -o /dev/null -m 3 "$u" 2>&1) && e=
    echo "$m net $u $e"
  elif command -v wget >/dev/null; then
    e=$(wget -q -T 3 -O /dev/null "$u" 2>&1); c=$?
    [ "$c" = 0 ] || [ "$c" = 8 ] && e= || e=${e:-exit code $c}
    case $e in *"server returned error: HTTP"*) e=;; esac
    echo "$m net $u $e"
  elif command -v "$p" >/dev/null; then "$p" -c "$4" "$u"
  fi
}
p=$1; command -v "${p:=python3}" >/dev/null || p=python
if [ -n "$u" ]; then u=$u/${AZURE_TENANT_ID:-common}/v2.0/.well-known/openid-configuration; connect & fi
if command -v "$p" >/dev/null; then echo "$m has python"; "$p" -c "$2" 2>/dev/null & fi
if command -v node >/dev/null; then echo "$m has node"; node -e "$3" 2>/dev/null & fi
wait
echo "$m end"
"""


def build_command(container: Mapping[str, object]) -> list[str]:
    """Return the command for a container; its own Python is used if its command names one."""
    script = _SHELL % {"variables": " ".join(VARIABLES), "token_file": _TOKEN_FILE}
    return ["sh", "-c", script, _MARK, _find_interpreter(container), _PYTHON, _NODE, _CONNECT]


def build_python_command(container: Mapping[str, object]) -> list[str]:
    """Return the command for a container without a shell."""
    interpreter = _find_interpreter(container) or "python3"
    own = [interpreter, "-c", _PYTHON_ALONE]
    return [*own, " ".join(VARIABLES), _TOKEN_FILE, _PYTHON, _CONNECT]


def _find_interpreter(container: Mapping[str, object]) -> str:
    words = container.get("command")
    first = str(words[0]) if isinstance(words, list) and words else ""
    return first if re.fullmatch(r"(?:.*/)?python[0-9.]*", first) else ""


def parse_output(container: str, output: str, now: float) -> ContainerFacts | Unread:
    """Parse the output of the command; `now` is this machine's clock at the middle of the request."""
    rows: dict[str, list[str]] = {}
    for line in output.splitlines():
        mark, _, rest = line.partition(" ")
        kind, _, value = rest.partition(" ")
        if mark == _MARK:
            rows.setdefault(kind, []).append(value.strip())
    if "end" not in rows:
        return Unread(f"the commands in container {container} did not end normally")
    environment = {
        name: value for name, _, value in (row.partition("=") for row in rows.get("env", ()))
    }
    return ContainerFacts(
        name=container,
        token_file=environment.get(names.ENV_TOKEN_FILE) or _TOKEN_FILE,
        environment=environment,
        token=_parse_token(rows.get("token", ["unreadable"])[0]),
        clock_offset=_parse_clock(rows.get("clock", [""])[0], now),
        authority=_parse_connection(rows.get("net", ())),
        libraries=_parse_libraries(rows),
    )


def _parse_token(text: str) -> PodToken | Unread | None:
    """Parse header and claims, without the signature."""
    if text == _MISSING:
        return None
    if text == _UNREADABLE:
        return Unread("the user of the container may not read the token file")
    header, _, claims = text.partition(".")
    try:
        parts = [orjson.loads(_decode(each)) for each in (header, claims)]
    except (ValueError, binascii.Error):
        return Unread("the token file does not contain a JWT")
    if not all(isinstance(each, dict) for each in parts):
        return Unread("the token file does not contain a JWT")
    about, found = parts
    return PodToken.from_claims(about.get("kid"), found)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _parse_clock(text: str, now: float) -> float | Unread:
    if not text.isdecimal():
        return Unread("the container has no program `date`")
    if len(text) > _MAX_CLOCK_DIGITS:
        return Unread("the program `date` of the container prints no time")
    return int(text) - now


def _parse_connection(rows: Sequence[str]) -> ConnectionResult | Unread:
    if not rows:
        return Unread("the container has no AZURE_AUTHORITY_HOST, or none of curl, wget and Python")
    url, _, error = rows[0].partition(" ")
    return ConnectionResult(url=url[:_MAX_CHARS], error=error[:_MAX_CHARS])


def _parse_libraries(rows: Mapping[str, Sequence[str]]) -> Mapping[str, str] | Unread:
    if "has" not in rows:
        return Unread(
            "the container has neither Python nor Node; for another language, scan its image: "
            "podpass migrate scan IMAGE.tar"
        )
    return {
        name: version for name, _, version in (row.partition(" ") for row in rows.get("lib", ()))
    }
