"""The request handler: invalid requests get the errors of the real API, and no internals are disclosed."""

import asyncio
import gzip
import io
import json
import logging
from typing import Any

import pytest

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
MERGE = "application/merge-patch+json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"metadata":{"name":NaN}}',
        b'{"metadata":{"name":"a"},"data":{"k":"\\ud800"}}',
        b'{"metadata":{"generation":' + b"9" * 400 + b"}}",
        gzip.compress(b'{"metadata":{"name":"a"}}'),
    ],
    ids=range(10),
)
async def test_body_that_is_not_an_object_is_a_bad_request(live: Any, body: bytes) -> None:
    response = await live.call("POST", MAPS, body)
    assert (response.status, response.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize("levels", [300, 100_000])
async def test_body_that_is_nested_too_deeply_is_refused_with_413(live: Any, levels: int) -> None:
    body = b'{"a":' * levels + b"1" + b"}" * levels
    response = await live.call("POST", MAPS, body)
    assert (response.status, response.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_body_above_the_limit_is_refused_before_it_is_read(live: Any) -> None:
    response = await live.call("POST", MAPS, io.BytesIO(b" " * (3 * 1024 * 1024 + 1)))
    assert (response.status, response.body["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nodes/x/y/z", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/pods/p", 404),
        ("GET", "/apis/networking.k8s.io/v1beta1/ingresses", 404),
        ("GET", "/api/v1/namespaces/default/pods/p/exec", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", PODS, 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405),
        ("POST", f"{PODS}/p/status", 405),
        ("OPTIONS", PODS, 405),
        ("GET", "/api/v1/namespaces/..%2f..%2fetc/pods/%00", 404),
        ("GET", "//api//v1//pods", 404),
        ("POST", "/version", 404),
        ("GET", "/openapi/v3/apis/x/v1", 404),
        ("GET", "/healthz/nope", 404),
    ],
)
async def test_unknown_path_is_not_found(live: Any, method: str, path: str, status: int) -> None:
    response = await live.call(method, path, {} if method in ("POST", "PUT") else None)
    assert response.status == status, response.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=x", 400),
        ("resourceVersion=x", 400),
        ("resourceVersion=999999", 504),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Maybe", 422),
        ("continue=e30", 400),
        ("labelSelector=a%20in%20b", 400),
        ("fieldSelector=x", 400),
        ("watch=1&timeoutSeconds=x", 400),
    ],
)
async def test_invalid_options_are_refused(live: Any, query: str, status: int) -> None:
    response = await live.call("GET", f"{MAPS}?{query}")
    assert response.status == status, response.text


async def test_unexpected_error_shows_only_an_audit_id(
    live: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a traceback or the text of an internal error is sent to a client."""

    def crash(*_: object) -> None:
        raise RuntimeError("a bug in the store")

    logging.getLogger("kubeling").propagate = True
    monkeypatch.setattr(live.cluster.store, "create", crash)
    with caplog.at_level(logging.ERROR, "kubeling"):
        response = await live.call("POST", MAPS, {"metadata": {"name": "a"}})
    assert (response.status, response.body["reason"]) == (500, "InternalError")
    assert response.headers["audit-id"] in response.body["message"]
    assert "store" not in response.body["message"]
    assert "request_failed" in {record.message for record in caplog.records}


async def test_full_disk_is_reported_and_writes_work_again_later(
    live: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("kubeling").propagate = True
    database = live.cluster.store._database
    database.execute("PRAGMA max_page_count = 1")
    body = {"metadata": {"name": "a"}, "data": {"long": "x" * 100_000}}
    with caplog.at_level(logging.ERROR, "kubeling"):
        response = await live.call("POST", MAPS, body)
    assert (response.status, response.body["reason"]) == (500, "InternalError")
    assert "check that the disk has free space" in response.body["message"]
    assert str(live.folder) not in response.text
    [line] = caplog.records
    assert "database or disk is full" in vars(line)["cause"]
    assert line.exc_info is None
    database.execute("PRAGMA max_page_count = 1000000")
    assert (await live.call("POST", MAPS, body)).status == 201


async def test_list_in_pages_then_watch_misses_no_change(live: Any) -> None:
    for name in ("a", "b", "c"):
        await live.call("POST", MAPS, {"metadata": {"name": name}})
    first = (await live.call("GET", f"{MAPS}?limit=2")).body
    await live.call("POST", MAPS, {"metadata": {"name": "bb"}})
    token = first["metadata"]["continue"]
    rest = (await live.call("GET", f"{MAPS}?limit=9&continue={token}")).body
    names = [item["metadata"]["name"] for item in first["items"] + rest["items"]]
    assert names == ["a", "b", "c", "kube-root-ca.crt"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_concurrent_writers_do_not_lose_a_change(live: Any) -> None:
    await live.call("POST", MAPS, {"metadata": {"name": "a"}})
    changes = [{"data": {f"k{number}": "v"}} for number in range(20)]
    done = await asyncio.gather(
        *(live.call("PATCH", f"{MAPS}/a", change, content_type=MERGE) for change in changes)
    )
    assert {response.status for response in done} == {200}
    assert len((await live.call("GET", f"{MAPS}/a")).body["data"]) == 20


async def test_patch_without_changes_keeps_the_revision(live: Any) -> None:
    made = await live.call("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    same = await live.call("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, content_type=MERGE)
    assert same.body["metadata"]["resourceVersion"] == made.body["metadata"]["resourceVersion"]


async def test_put_creates_a_missing_lease(live: Any) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n"
    body = {"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}}
    assert (await live.call("PUT", path, body)).status == 201
    assert (await live.call("PUT", path, body)).status == 200


@pytest.mark.parametrize("kind", ["deployments", "replicasets"])
async def test_put_does_not_create_a_missing_workload(live: Any, kind: str) -> None:
    pod = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
    path = f"/apis/apps/v1/namespaces/default/{kind}/web"
    body = {"metadata": {"name": "web"}, "spec": spec}
    assert (await live.call("PUT", path, body)).status == 404


async def test_apply_reads_yaml_and_sets_managed_fields(live: Any) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n"
    path = f"{MAPS}/a?fieldManager=me"
    made = await live.call("PATCH", path, text, content_type="application/apply-patch+yaml")
    assert made.status == 201, made.text
    (entry,) = made.body["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("me", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}}}


async def test_status_changes_only_at_the_status_subresource(live: Any) -> None:
    """Fails if the permission to change a pod includes its status."""
    await live.call("POST", PODS, POD | {"status": {"phase": "Running"}})
    change = {"status": {"phase": "Running"}}
    plain = await live.call("PATCH", f"{PODS}/p", change, content_type=MERGE)
    assert plain.body["status"]["phase"] == "Pending"
    changed = await live.call("PATCH", f"{PODS}/p/status", change, content_type=MERGE)
    assert changed.body["status"]["phase"] == "Running"


@pytest.mark.parametrize(
    ("accept", "kind", "content_type"),
    [
        ("application/vnd.kubernetes.protobuf, application/json", "ConfigMap", "application/json"),
        ("application/vnd.kubernetes.protobuf;q=0.9,*/*", "ConfigMap", "application/json"),
        ("", "ConfigMap", "application/json"),
        ("application/json;as=Table;g=meta.k8s.io;v=v1beta1", "Table", "application/json"),
        (
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            "PartialObjectMetadata",
            "application/json",
        ),
        ("application/json;as=Nonsense;g=x;v=v1,application/json", "ConfigMap", "application/json"),
    ],
)
async def test_client_gets_the_accepted_output_format(
    live: Any, accept: str, kind: str, content_type: str
) -> None:
    response = await live.call("GET", f"{MAPS}/kube-root-ca.crt", accept=accept)
    assert response.headers["content-type"] == content_type
    assert response.body["kind"] == kind


async def test_yaml_and_indented_json_are_available(live: Any) -> None:
    path = f"{MAPS}/kube-root-ca.crt"
    assert (await live.call("GET", path, accept="application/yaml")).text.startswith("kind: Conf")
    assert '\n  "kind"' in (await live.call("GET", f"{path}?pretty=true")).text
    assert '\n  "kind"' in (await live.call("GET", path, user_agent="curl/8")).text


async def test_protobuf_responses_are_not_available(live: Any) -> None:
    response = await live.call("GET", MAPS, accept="application/vnd.kubernetes.protobuf")
    assert (response.status, response.body["reason"]) == (406, "NotAcceptable")


async def test_nothing_is_written_if_no_format_is_acceptable(live: Any) -> None:
    response = await live.call("POST", MAPS, {"metadata": {"name": "a"}}, accept="text/html")
    assert response.status == 406
    assert (await live.call("GET", f"{MAPS}/a")).status == 404


async def test_duplicate_fields_cause_a_warning_and_are_refused_with_strict(live: Any) -> None:
    text = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}'
    strict = await live.call("POST", f"{MAPS}?fieldValidation=Strict", text)
    assert strict.status == 400
    assert 'duplicate field "data.k"' in strict.body["message"]
    warned = await live.call("POST", MAPS, text)
    assert warned.status == 201
    assert warned.warnings == ['299 - "duplicate field \\"data.k\\""']


async def test_issuer_keys_are_published_by_the_api_server(live: Any) -> None:
    response = await live.call("GET", "/openid/v1/jwks", accept="application/jwk-set+json")
    assert json.loads(response.text)["keys"][0]["kid"] == live.config.signer.kid
    response = await live.call("GET", "/.well-known/openid-configuration")
    assert response.body["issuer"] == live.config.issuer
    assert response.body["jwks_uri"] == live.config.issuer + "openid/v1/jwks"


async def test_openapi_is_served_for_every_listed_group(live: Any) -> None:
    paths = (await live.call("GET", "/openapi/v3")).body["paths"]
    for entry in paths.values():
        document = await live.call("GET", entry["serverRelativeURL"])
        assert document.status == 200, entry
        assert document.body["openapi"].startswith("3.")
    assert (await live.call("GET", "/openapi/v2")).body["swagger"] == "2.0"


async def test_watch_parameter_with_a_name_is_a_get(live: Any) -> None:
    """Fails if a user who may read one object can watch all objects with `watch=1`."""
    response = await live.call("GET", f"{MAPS}/kube-root-ca.crt?watch=1&timeoutSeconds=1")
    assert response.body["kind"] == "ConfigMap"


APPLY = "application/apply-patch+yaml"


async def test_yaml_with_aliases_is_refused(live: Any) -> None:
    """Fails if aliases are expanded: nine lines of them would exhaust the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join(lines).encode()
    response = await live.call("PATCH", f"{MAPS}/a?fieldManager=me", text, content_type=APPLY)
    assert (response.status, response.body["reason"]) == (400, "BadRequest")


async def test_date_in_yaml_is_text(live: Any) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  day: 2026-01-01\n"
    response = await live.call("PATCH", f"{MAPS}/a?fieldManager=me", text, content_type=APPLY)
    assert response.body["data"] == {"day": "2026-01-01"}
