"""Write `releases`: the built-in kinds and types of Kubernetes releases, from their published OpenAPI.

Run it with the folders of the Go module of each release, the newest release first:

    go mod download -json k8s.io/kubernetes@v1.37.2 k8s.io/kubernetes@v1.36.3    # names the folders
    python scripts/make_releases.py FOLDER_1.37 FOLDER_1.36

The newest release is written whole; an older one as its kinds, and the types that differ from the newest.
Descriptions, beta and alpha versions are omitted. `release.py` describes the files. Run `make_protobuf.py`
after it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path("kubeling/src/kubeling/apiserver/releases")
STABLE = re.compile(r"v\d+")
REF = re.compile(r"#/components/schemas/")
# Types without fields of their own, by the value that their JSON has. A list of schemas in `items` would not
# be a structural schema, which a definition must have.
SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intOrString",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "JSONSchemaProps",
}
PLAIN = {
    ("boolean", ""): "boolean",
    ("integer", "int32"): "int32",
    ("integer", "int64"): "integer",
    ("number", "double"): "number",
    ("string", ""): "string",
    ("string", "byte"): "bytes",
}
# Packages whose types keep their short name; another type of this name is called `package.version.Name`.
PREFERRED = {
    "EndpointPort": "io.k8s.api.discovery.v1",
    "CrossVersionObjectReference": "io.k8s.api.autoscaling.v2",
    "HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2",
    "HorizontalPodAutoscalerSpec": "io.k8s.api.autoscaling.v2",
    "HorizontalPodAutoscalerStatus": "io.k8s.api.autoscaling.v2",
    "Subject": "io.k8s.api.rbac.v1",
}
# Fields whose default is zero, and that JSON omits if they are zero; OpenAPI does not say the latter.
_NAMED = (
    *("ConfigMapEnvSource", "ConfigMapKeySelector", "ConfigMapProjection", "ConfigMapVolumeSource"),
    *("LocalObjectReference", "SecretEnvSource", "SecretKeySelector", "SecretProjection"),
)
OMITTED = {
    *((name, "name") for name in _NAMED),
    ("ReplicationControllerSpec", "minReadySeconds"),
    ("ScaleSpec", "replicas"),
}
_STREAMS = dict.fromkeys(("stderr", "stdin", "stdout", "tty"), "boolean")
# Query parameters, which have no schema; admission webhooks receive them as an object.
OPTIONS = {
    "PodAttachOptions": {"container": "string", **_STREAMS},
    "PodExecOptions": {"command": "[string]", "container": "string", **_STREAMS},
    "PodPortForwardOptions": {"ports": "[int32]"},
    "NodeProxyOptions": {"path": "string"},
    "PodProxyOptions": {"path": "string"},
    "ServiceProxyOptions": {"path": "string"},
}
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
EXTRA_ROOTS = (f"{META}.DeleteOptions", f"{META}.Condition", "io.k8s.api.autoscaling.v1.Scale")
PROPERTY = re.compile(r'\n\t{5}"(\w+)": \{\n(.*?)\n\t{5}\},', re.DOTALL)
ENUM = re.compile(r"Enum: +\[\]interface\{\}\{([^}]*)\}")

Json = dict[str, Any]


class Release:
    """The kinds and types of one release."""

    def __init__(self, folder: Path) -> None:
        self.version = folder.name.partition("@")[2]
        self.minor = ".".join(self.version.lstrip("v").split(".")[:2])
        self._discovery = folder / "api/discovery"
        self._schemas: Json = {}
        for path in sorted((folder / "api/openapi-spec/v3").glob("api*__*_openapi.json")):
            self._schemas |= json.loads(path.read_text())["components"]["schemas"]
        self._enums = dict(enums(folder / "pkg/generated/openapi/zz_generated.openapi.go"))
        self._names: dict[str, str] = {}
        self._by_kind = {
            (each["group"], each["version"], each["kind"]): name
            for name, schema in self._schemas.items()
            for each in schema.get("x-kubernetes-group-version-kind", ())
            if len(schema["x-kubernetes-group-version-kind"]) == 1
        }
        self.types: Json = {}
        self.kinds = {
            f"{group}/{version}": self._kinds(group, version)
            for group, versions in self._groups()
            for version in versions
        }
        for root in EXTRA_ROOTS:
            self._type(root)
        for name, fields in OPTIONS.items():
            self.types[name] = {"in": "io.k8s.api.core.v1", "of": fields}
        self.types = dict(sorted(self.types.items()))

    def _groups(self) -> list[tuple[str, list[str]]]:
        """List the groups with their stable versions, in the order of discovery."""
        listed = json.loads((self._discovery / "apis.json").read_text())["groups"]
        found = [(each["name"], [one["version"] for one in each["versions"]]) for each in listed]
        stable = [
            (group, [each for each in versions if STABLE.fullmatch(each)])
            for group, versions in found
        ]
        return [("", ["v1"]), *((group, versions) for group, versions in stable if versions)]

    def _kinds(self, group: str, version: str) -> list[Json]:
        """Return the rows of a group and version; each has the subresources of its kind."""
        prefix = f"apis__{group}" if group else "api"
        listed = json.loads((self._discovery / f"{prefix}__{version}.json").read_text())[
            "resources"
        ]
        rows: dict[str, Json] = {}
        for each in sorted(listed, key=lambda each: str(each["name"])):
            plural, _, subresource = each["name"].partition("/")
            if subresource:
                rows[plural].setdefault("subresources", []).append(
                    [
                        subresource,
                        each["kind"],
                        each["verbs"],
                        each.get("group", ""),
                        each.get("version", ""),
                    ]
                )
                target = (each.get("group", group), each.get("version", version), each["kind"])
            else:
                target = (group, version, each["kind"])
                rows[plural] = {
                    "plural": plural,
                    "kind": each["kind"],
                    "namespaced": each["namespaced"],
                    "verbs": each["verbs"],
                    "short": each.get("shortNames"),
                    "categories": each.get("categories"),
                    "hash": each.get("storageVersionHash"),
                }
            if target in self._by_kind:
                made = self._type(self._by_kind[target])
                if not subresource and made != each["kind"]:
                    rows[plural]["type"] = made
        return [{key: value for key, value in row.items() if value} for row in rows.values()]

    def _short(self, name: str) -> str:
        """Return the name of a type in the file."""
        if name not in self._names:
            package, _, last = name.rpartition(".")
            is_free = last not in self._names.values()
            short = last if is_free and PREFERRED.get(last, package) == package else ""
            self._names[name] = short or ".".join([*package.split(".")[-2:], last])
        return self._names[name]

    def _type(self, name: str) -> str:
        """Add a type and the types of its fields; return its notation."""
        schema = self._schemas[name]
        if name in SPECIAL:
            made = SPECIAL[name]
            if made[0].isupper():
                self._type(f"{name.rpartition('.')[0]}.{made}")
            return made
        if not schema.get("properties"):
            return "object"
        short = self._short(name)
        if short in self.types:
            return short
        made_type: Json = {"in": name.rpartition(".")[0], "of": {}}
        self.types[short] = made_type
        required = schema.get("required", ())
        notes: Json = {}
        for field, of in sorted(schema["properties"].items()):
            made_type["of"][field] = self._notation(of) + ("!" if field in required else "")
            for part, value in self._notes(name, field, of):
                notes.setdefault(part, {})[field] = value
        made_type |= notes
        if schema.get("x-kubernetes-map-type") == "atomic":
            made_type["atomic"] = True
        return short

    def _notes(self, name: str, field: str, of: Json) -> list[tuple[str, Any]]:
        """Return what the file says about a field in addition to its type."""
        notes: list[tuple[str, Any]] = []
        if of.get("default") is not None and (name.rpartition(".")[2], field) not in OMITTED:
            notes.append(("default", of["default"]))
        if found := self._enums.get((function(name), field)):
            notes.append(("enum", found))
        strategy = of.get("x-kubernetes-patch-strategy", "").split(",")
        patch_key = of.get("x-kubernetes-patch-merge-key", "") if "merge" in strategy else None
        keys = of.get("x-kubernetes-list-map-keys", [])
        is_set = of.get("x-kubernetes-list-type") == "set"
        if patch_key is not None or keys or is_set:
            notes.append(("list", [patch_key, keys, is_set]))
        if "retainKeys" in strategy:
            notes.append(("retain", True))
        if of.get("x-kubernetes-map-type") == "atomic":
            notes.append(("atomicField", True))
        return notes

    def _notation(self, of: Json) -> str:
        """Return the notation of a type: `[X]` for a list, `{X}` for a map, else its name."""
        for ref in (of, *of.get("allOf", ())):
            if "$ref" in ref:
                return self._type(REF.sub("", ref["$ref"]))
        if of.get("type") == "array":
            return f"[{self._notation(of['items'])}]"
        if of.get("type") == "object":
            inner = of.get("additionalProperties")
            return "object" if inner is None else "{" + self._notation(inner) + "}"
        return PLAIN[of["type"], of.get("format", "")]


def function(name: str) -> str:
    """Return the name of the Go function that makes the schema of a type."""
    package = re.sub(r"^io\.k8s\.(?:(api)\.|[\w-]+\.)", r"k8sio.\1.", name)
    return package.replace("k8sio..", "").replace(".", "_").replace("-", "_")


def enums(source: Path) -> list[tuple[tuple[str, str], list[str]]]:
    """List the values of fields with a fixed set of values, by the type's Go function and the field."""
    found = []
    for part in source.read_text().split("\nfunc schema_")[1:]:
        owner = part.partition("(")[0]
        for field, body in PROPERTY.findall(part):
            if values := ENUM.search(body):
                found.append(((owner, field), json.loads(f"[{values[1]}]")))
    return found


def write(release: Release, newest: Release) -> None:
    """Write a release with one type per line, so that a change is a readable diff."""
    types = release.types
    if release is not newest:
        types = {
            name: release.types.get(name)
            for name in sorted({*newest.types, *release.types})
            if release.types.get(name) != newest.types.get(name)
        }
    folder = TARGET / release.minor
    folder.mkdir(parents=True, exist_ok=True)
    kinds = f'{{"version": "{release.version}", "kinds": {{\n{_lines(release.kinds)}\n}}}}\n'
    (folder / "kinds.json").write_text(kinds)
    (folder / "types.json").write_text(f"{{\n{_lines(types)}\n}}\n")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    print(f"{folder}: {len(types)} types, bytes {sizes}")


def _lines(rows: Json) -> str:
    compact = (",", ":")
    return ",\n".join(
        f"{json.dumps(key)}:{json.dumps(value, separators=compact)}" for key, value in rows.items()
    )


def main() -> None:
    """Write each release."""
    releases = [Release(Path(folder)) for folder in sys.argv[1:]]
    for release in releases:
        write(release, releases[0])


if __name__ == "__main__":
    main()
