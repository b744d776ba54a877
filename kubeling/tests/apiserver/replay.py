"""Replay recorded requests, and compare each response with that of a real API server."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jwt

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kubernetes.json").read_text())
TOKENS: dict[str | None, str | None] = {
    "admin": "admin-token",
    "alice": "alice-token",
    "wrong": "nobody-issued-this",
    None: None,
}
RECORDED_AT = "127.0.0.1:16443"

EXCLUDED = {
    "watch with initial events": (
        "the recorded server had an etcd without progress notifications and could not; this one can, see "
        "test_watch"
    ),
}
# Paths that are not sent or compared, each with its reason.
OTHER_HASH = "the hash depends on how one version of Kubernetes prints its Go types"
OTHER_BUILD = "names the build, which is different"
BUILD = (
    *("minor", "emulationMinor", "minCompatibilityMinor", "gitVersion", "gitCommit", "goVersion"),
    *("compiler", "platform"),
)
DIFFERS = {
    "server version": dict.fromkeys(BUILD, OTHER_BUILD),
    "anonymous may see version": dict.fromkeys(BUILD, OTHER_BUILD),
    "service": dict.fromkeys(("spec.clusterIP", "spec.clusterIPs[0]"), "the address is random"),
    "cluster role": {
        "rules": "the recorded server ran without the controller that aggregates roles"
    },
    "its replica sets": dict.fromkeys(
        (
            *("items[0].metadata.name", "items[0].metadata.labels.pod-template-hash"),
            "items[0].spec.selector.matchLabels.pod-template-hash",
            "items[0].spec.template.metadata.labels.pod-template-hash",
        ),
        OTHER_HASH,
    ),
    "its pods": dict.fromkeys(
        (
            *("items[0].metadata.name", "items[0].metadata.generateName"),
            "items[0].metadata.labels.pod-template-hash",
            "items[0].metadata.ownerReferences[0].name",
        ),
        OTHER_HASH,
    ),
    "alice may list now": {
        "items[0]": "the order of the deployment's two pods depends on the hashes in their names"
    },
}
# Controllers write after the previous response: the step is repeated until the response matches.
EVENTUAL = ("deployment observed", "its replica sets", "deployments as a table")
# In the recording, controllers had finished; the replay waits for them.
AFTER_CONTROLLERS = {
    "strategic merge of containers by name": "/apis/apps/v1/namespaces/one/deployments/dep"
}
# Discovery lists every kind of a server; ours must be an exact part of it, in the same order.
PARTIAL = (
    *("core resources", "api groups", "aggregated discovery", "aggregated core discovery"),
    "resources of admissionregistration.k8s.io/v1",
)

PATTERNS = {
    "uid": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "rv": r"\d+",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z",
    "suffix": r"[a-z0-9]+",
    "continue": r"[A-Za-z0-9_-]+",
    "kid": r"[A-Za-z0-9_-]{43}",
    "n": r"[A-Za-z0-9_-]+",
}
AGE = re.compile(r"(?:\d+[smhdy])+")


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Return the differences between a response and the recorded one, without masked values."""
    if isinstance(expected, dict) and isinstance(found, str) and "claims" in expected:
        claims = jwt.decode(found, options={"verify_signature": False})
        body = {"header": jwt.get_unverified_header(found), "claims": claims}
        return differences(expected, body, path)
    if isinstance(expected, dict) and isinstance(found, dict):
        problems = [f"{path}.{key} is missing" for key in expected.keys() - found.keys()]
        problems += [f"{path}.{key} is not recorded" for key in found.keys() - expected.keys()]
        expected = _with_issue_time(expected, found)
        for key in expected.keys() & found.keys():
            problems += differences(expected[key], found[key], f"{path}.{key}" if path else key)
        return problems
    if isinstance(expected, list) and isinstance(found, list):
        problems = [] if len(expected) == len(found) else [f"{path} has {len(found)} items"]
        for at, (one, other) in enumerate(zip(expected, found, strict=False)):
            problems += differences(one, other, f"{path}[{at}]")
        return problems
    if isinstance(expected, str) and _matches_mask(expected, found):
        return []
    return [] if expected == found else [f"{path}: {found!r}, recorded {expected!r}"]


def _with_issue_time(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    if "iat" not in expected or "iat" not in found:
        return expected
    return {
        key: found["iat"] + int(value[5:-1]) if str(value).startswith("<iat+") else value
        for key, value in expected.items()
    }


def _matches_mask(expected: str, found: Any) -> bool:
    if expected == "<managedFields>":
        return isinstance(found, list) and bool(found)
    if not isinstance(found, str):
        return False
    if expected in ("<message>", "<description>", "<text>", "<caBundle>"):
        return True
    if AGE.fullmatch(expected) and AGE.fullmatch(found):
        return True
    pattern = re.escape(expected)
    for mask, one in PATTERNS.items():
        pattern = pattern.replace(re.escape(f"<{mask}>"), one)
    return re.fullmatch(pattern, found) is not None


def _unrecorded_entries(expected: Any, found: Any) -> list[str]:
    """Return the entries of a discovery document that are not in the recorded one or in another order."""
    if isinstance(expected, list) and isinstance(found, list) and found:
        names = [_name(item) for item in expected]
        problems = [f"{_name(item)} is not recorded" for item in found if _name(item) not in names]
        if problems:
            return problems
        positions = [names.index(_name(item)) for item in found]
        problems = [] if positions == sorted(positions) else ["the order differs"]
        for position, item in zip(positions, found, strict=True):
            problems += _unrecorded_entries(expected[position], item)
        return problems
    if isinstance(expected, dict) and isinstance(found, dict):
        problems = [f"{key} is missing" for key in expected.keys() ^ found.keys()]
        for key in expected.keys() & found.keys():
            problems += _unrecorded_entries(expected[key], found[key])
        return problems
    return differences(expected, found)


def _name(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    for key in ("name", "resource", "subresource", "version", "groupVersion", "clientCIDR"):
        if key in item:
            return str(item[key])
    return str(item.get("metadata", {}).get("name"))


def _fill_placeholders(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), value)
    if isinstance(value, list):
        return [_fill_placeholders(each, values) for each in value]
    if isinstance(value, dict):
        return {key: _fill_placeholders(each, values) for key, each in value.items()}
    return value


def get_path(value: Any, path: str) -> str:
    for part in path.split("."):
        value = value[part]
    return str(value)


async def send(live: Any, step: dict[str, Any], values: dict[str, str]) -> Any:
    user, method = step.get("user"), step["method"]
    token = values[user[6:]] if user and user.startswith("token:") else TOKENS[user]
    path = _fill_placeholders(step["path"], values).replace("timeoutSeconds=2", "timeoutSeconds=1")
    headers = {"accept": step["accept"]} if step.get("accept") else {}
    if step.get("content_type"):
        headers["content_type"] = step["content_type"]
    body = _fill_placeholders(step.get("body"), values)
    wanted = {"WAIT": 200, "WAITGONE": 404}.get(method)
    for _ in range(900):
        reply = await live.call(
            "GET" if method.startswith("WA") else method, path, body, token=token, **headers
        )
        if method == "WAITLIST" and len(reply.body["items"]) != step["keep"]["n"]:
            await asyncio.sleep(0.1)
        elif wanted in (None, reply.status):
            return reply
        else:
            await asyncio.sleep(0.1)
    return reply


def compare(live: Any, step: dict[str, Any], reply: Any) -> list[str]:
    title, expected = step["title"], step["expect"]
    problems = []
    if reply.status != expected["status"]:
        return [f"status {reply.status}, recorded {expected['status']}: {reply.text[:300]}"]
    if (
        "content_type" in expected
        and reply.headers.get("content-type", "") != expected["content_type"]
    ):
        problems.append(f"content type {reply.headers.get('content-type')}")
    if len(reply.warnings) != expected.get("warnings", 0):
        problems.append(f"warnings {reply.warnings}, recorded {expected.get('warnings', 0)}")
    if "text" in expected:
        return problems + differences(expected["text"], reply.text)
    if "events" in expected:
        found = [json.loads(line) for line in reply.text.splitlines()]
        return problems + differences(expected["events"], found)
    if "body" in expected:
        body = json.loads(reply.text.replace(live.server.removeprefix("https://"), RECORDED_AT))
        compare = _unrecorded_entries if title in PARTIAL else differences
        problems += compare(expected["body"], body)
    skipped = DIFFERS.get(title, {})
    return [each for each in problems if not any(_is_about(each, path) for path in skipped)]


async def replay(live: Any, step: dict[str, Any], values: dict[str, str]) -> tuple[Any, list[str]]:
    """Replay one step; return the response and its differences."""
    if path := AFTER_CONTROLLERS.get(step["title"]):
        await _wait_for_controllers(live, path)
    for _ in range(100):
        reply = await send(live, step, values)
        problems = compare(live, step, reply)
        if not problems or step["title"] not in EVENTUAL:
            break
        await asyncio.sleep(0.1)
    return reply, problems


async def _wait_for_controllers(live: Any, path: str) -> None:
    for _ in range(100):
        found = (await live.call("GET", path)).body
        replicas = found["status"].get("replicas", 0)
        is_observed = found["status"].get("observedGeneration") == found["metadata"]["generation"]
        if is_observed and replicas == found["spec"]["replicas"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the controllers did not finish")


def _is_about(difference: str, path: str) -> bool:
    return re.match(rf"\.?{re.escape(path)}[^\w]", difference + " ") is not None
