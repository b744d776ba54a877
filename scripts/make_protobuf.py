"""Write `protobuf.json`: the field numbers of the Kubernetes API's types, from the Go sources of k8s.io/api.

Run it after `make_schema.py`, with the folders of three Go modules:

    go mod download -json k8s.io/{api,apimachinery,apiextensions-apiserver}@VERSION    # names the folders
    python scripts/make_protobuf.py API_FOLDER APIMACHINERY_FOLDER APIEXTENSIONS_FOLDER

A field is written as its JSON name: `*name` if the Go field is a pointer, so that zero differs from unset,
and `=Type` if the fields of a type are inlined in JSON.
"""

import json
import re
import sys
from pathlib import Path

FOLDER = Path("src/podpass/kubernetes/apiserver")
# This package comes before the core package, which has a type with the same name that is not served.
PACKAGES = (
    "discovery/v1",
    *("core/v1", "rbac/v1", "admissionregistration/v1", "coordination/v1", "policy/v1"),
    *("authentication/v1", "authorization/v1", "apps/v1", "batch/v1", "autoscaling/v1"),
    *("networking/v1", "scheduling/v1", "storage/v1"),
)
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(
    r"^\s+(?:\w+\s+)?(?P<type>[\w.*\[\]]+)\s+"
    r'`json:"(?P<json>[^"]*)"[^`]*\bprotobuf:"\w+,(?P<number>\d+)',
    re.MULTILINE,
)


def structs(source: str) -> dict[str, dict[str, str]]:
    return {name: dict(fields(body)) for name, body in STRUCT.findall(source)}


def fields(body: str) -> list[tuple[str, str]]:
    found = []
    for field in FIELD.finditer(body):
        name = field["json"].split(",")[0]
        kind = field["type"]
        if not name:
            found.append((field["number"], "=" + kind.lstrip("*").split(".")[-1]))
        elif name and name != "-":
            found.append((field["number"], ("*" if kind.startswith("*") else "") + name))
    return found


def main() -> None:
    api, machinery, extensions = map(Path, sys.argv[1:4])
    known: dict[str, dict[str, str]] = {}
    sources = [machinery / "pkg/apis/meta/v1/types.go"]
    sources += [api / package / "types.go" for package in PACKAGES]
    sources += sorted((extensions / "pkg/apis/apiextensions/v1").glob("types*.go"))
    for source in sources:
        for name, found in structs(source.read_text()).items():
            known.setdefault(name, found)
    # The models of the official client have this name for a type that two packages have.
    drivers = structs((api / "storage/v1/types.go").read_text())
    known["StorageV1TokenRequest"] = drivers["TokenRequest"]
    wanted = list(json.loads((FOLDER / "schema.json").read_text()))
    written: dict[str, dict[str, str]] = {}
    while wanted:
        name = wanted.pop()
        if name not in written and name in known:
            written[name] = known[name]
            wanted += [each[1:] for each in known[name].values() if each.startswith("=")]
    lines = [f"{json.dumps(name)}: {json.dumps(written[name])}" for name in sorted(written)]
    (FOLDER / "protobuf.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} types")


if __name__ == "__main__":
    main()
