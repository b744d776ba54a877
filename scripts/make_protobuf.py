"""Write `protobuf.json`: the field numbers of the Kubernetes API's types, from their Go sources.

Run it after `make_releases.py`, with the folder of the Go modules of the newest release and their version:

    go mod download k8s.io/{api,apimachinery,apiextensions-apiserver,kube-aggregator}@v0.37.2
    python scripts/make_protobuf.py "$(go env GOMODCACHE)/k8s.io" v0.37.2

A field is written as its JSON name: `*name` if the Go field is a pointer, so that zero differs from unset,
and `=Type` if the fields of a type are inlined in JSON.
"""

import json
import re
import sys
from pathlib import Path

FOLDER = Path("kubeling/src/kubeling/apiserver")
# The folders of packages whose path in Go differs from that in the names of OpenAPI.
FOLDERS = {
    "io.k8s.apimachinery.pkg": "apimachinery@{}/pkg",
    "io.k8s.apiextensions-apiserver.pkg": "apiextensions-apiserver@{}/pkg",
    "io.k8s.kube-aggregator.pkg": "kube-aggregator@{}/pkg",
    "io.k8s.api": "api@{}",
}
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


def folder(modules: Path, version: str, package: str) -> Path:
    prefix = next(each for each in FOLDERS if package.startswith(each + "."))
    below = package.removeprefix(prefix + ".").replace(".", "/")
    return modules / FOLDERS[prefix].format(version) / below


def main() -> None:
    modules, version = Path(sys.argv[1]), sys.argv[2]
    newest = max((FOLDER / "releases").iterdir(), key=lambda path: path.name.split("."))
    types = json.loads((newest / "types.json").read_text())
    known: dict[str, dict[str, dict[str, str]]] = {}
    written: dict[str, dict[str, str]] = {}
    for name, of in types.items():
        package = of["in"]
        if package not in known:
            known[package] = {}
            for source in sorted(folder(modules, version, package).glob("[gt]*.go")):
                known[package] |= structs(source.read_text())
        wanted = [(name, name.rpartition(".")[2])]
        while wanted:
            short, struct = wanted.pop()
            if short not in written and struct in known[package]:
                written[short] = known[package][struct]
                inlined = [each[1:] for each in written[short].values() if each.startswith("=")]
                wanted += [(each, each) for each in inlined]
    lines = [f"{json.dumps(name)}: {json.dumps(written[name])}" for name in sorted(written)]
    (FOLDER / "protobuf.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} types")


if __name__ == "__main__":
    main()
