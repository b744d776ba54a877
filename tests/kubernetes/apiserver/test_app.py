"""The edge: what comes in wrong is refused in the API's own words, and nothing of ours shows."""

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
        b'{"a":' * 100_000,
        b'{"metadata":{"generation":' + b"9" * 400 + b"}}",
        gzip.compress(b'{"metadata":{"name":"a"}}'),
    ],
    ids=range(11),
)
async def test_a_body_that_is_no_object_is_a_bad_request(live: Any, body: bytes) -> None:
    answer = await live.call("POST", MAPS, body)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(live: Any) -> None:
    answer = await live.call("POST", MAPS, io.BytesIO(b" " * (3 * 1024 * 1024 + 1)))
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nodes/x/y/z", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/pods/p", 404),
        ("GET", "/apis/networking.k8s.io/v1/ingresses", 404),
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
async def test_a_path_that_is_nothing_is_not_found(
    live: Any, method: str, path: str, status: int
) -> None:
    answer = await live.call(method, path, {} if method in ("POST", "PUT") else None)
    assert answer.status == status, answer.text


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
async def test_options_that_cannot_be_are_refused(live: Any, query: str, status: int) -> None:
    answer = await live.call("GET", f"{MAPS}?{query}")
    assert answer.status == status, answer.text


async def test_a_crash_shows_an_audit_id_and_nothing_else(
    live: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a traceback or the text of an inner error can reach a client."""

    def crash(*_: object) -> None:
        raise RuntimeError("a bug in the store")

    logging.getLogger("podpass").propagate = True
    monkeypatch.setattr(live.cluster.store, "create", crash)
    with caplog.at_level(logging.ERROR, "podpass"):
        answer = await live.call("POST", MAPS, {"metadata": {"name": "a"}})
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert answer.headers["audit-id"] in answer.body["message"]
    assert "store" not in answer.body["message"]
    assert "request_crashed" in {record.message for record in caplog.records}


async def test_a_full_disk_is_told_as_such_in_one_line_and_heals_by_itself(
    live: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("podpass").propagate = True
    database = live.cluster.store._database
    database.execute("PRAGMA max_page_count = 1")
    body = {"metadata": {"name": "a"}, "data": {"long": "x" * 100_000}}
    with caplog.at_level(logging.ERROR, "podpass"):
        answer = await live.call("POST", MAPS, body)
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert "check that the disk has room" in answer.body["message"]
    assert str(live.folder) not in answer.text
    [line] = caplog.records
    assert "database or disk is full" in vars(line)["cause"]
    assert line.exc_info is None
    database.execute("PRAGMA max_page_count = 1000000")
    assert (await live.call("POST", MAPS, body)).status == 201


async def test_pages_go_through_a_list_and_watch_from_its_first_moment(live: Any) -> None:
    for name in ("a", "b", "c"):
        await live.call("POST", MAPS, {"metadata": {"name": name}})
    first = (await live.call("GET", f"{MAPS}?limit=2")).body
    await live.call("POST", MAPS, {"metadata": {"name": "bb"}})
    token = first["metadata"]["continue"]
    rest = (await live.call("GET", f"{MAPS}?limit=9&continue={token}")).body
    names = [item["metadata"]["name"] for item in first["items"] + rest["items"]]
    assert names == ["a", "b", "c", "kube-root-ca.crt"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_two_writers_of_one_object_do_not_lose_a_change(live: Any) -> None:
    await live.call("POST", MAPS, {"metadata": {"name": "a"}})
    changes = [{"data": {f"k{number}": "v"}} for number in range(20)]
    done = await asyncio.gather(
        *(live.call("PATCH", f"{MAPS}/a", change, content_type=MERGE) for change in changes)
    )
    assert {answer.status for answer in done} == {200}
    assert len((await live.call("GET", f"{MAPS}/a")).body["data"]) == 20


async def test_a_patch_that_changes_nothing_is_no_change(live: Any) -> None:
    made = await live.call("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    same = await live.call("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, content_type=MERGE)
    assert same.body["metadata"]["resourceVersion"] == made.body["metadata"]["resourceVersion"]


async def test_a_lease_is_made_by_the_put_that_renews_it(live: Any) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n"
    body = {"metadata": {"name": "n"}, "spec": {"holderIdentity": "n"}}
    assert (await live.call("PUT", path, body)).status == 201
    assert (await live.call("PUT", path, body)).status == 200


async def test_apply_reads_yaml_and_says_who_owns_what(live: Any) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n"
    path = f"{MAPS}/a?fieldManager=me"
    made = await live.call("PATCH", path, text, content_type="application/apply-patch+yaml")
    assert made.status == 201, made.text
    (entry,) = made.body["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("me", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}}}


async def test_a_status_is_changed_at_its_own_path_only(live: Any) -> None:
    """Fails if whoever may change a pod may say that it runs."""
    await live.call("POST", PODS, POD | {"status": {"phase": "Running"}})
    change = {"status": {"phase": "Running"}}
    plain = await live.call("PATCH", f"{PODS}/p", change, content_type=MERGE)
    assert plain.body["status"]["phase"] == "Pending"
    told = await live.call("PATCH", f"{PODS}/p/status", change, content_type=MERGE)
    assert told.body["status"]["phase"] == "Running"


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
async def test_a_client_gets_the_form_it_accepts(
    live: Any, accept: str, kind: str, content_type: str
) -> None:
    answer = await live.call("GET", f"{MAPS}/kube-root-ca.crt", accept=accept)
    assert answer.headers["content-type"] == content_type
    assert answer.body["kind"] == kind


async def test_yaml_and_indented_json_are_to_be_had(live: Any) -> None:
    path = f"{MAPS}/kube-root-ca.crt"
    assert (await live.call("GET", path, accept="application/yaml")).text.startswith("kind: Conf")
    assert '\n  "kind"' in (await live.call("GET", f"{path}?pretty=true")).text
    assert '\n  "kind"' in (await live.call("GET", path, user_agent="curl/8")).text


async def test_only_protobuf_cannot_be_had(live: Any) -> None:
    answer = await live.call("GET", MAPS, accept="application/vnd.kubernetes.protobuf")
    assert (answer.status, answer.body["reason"]) == (406, "NotAcceptable")


async def test_nothing_is_written_when_the_answer_could_not_be_read(live: Any) -> None:
    answer = await live.call("POST", MAPS, {"metadata": {"name": "a"}}, accept="text/html")
    assert answer.status == 406
    assert (await live.call("GET", f"{MAPS}/a")).status == 404


async def test_doubled_members_are_told_and_in_strict_refused(live: Any) -> None:
    text = b'{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}'
    strict = await live.call("POST", f"{MAPS}?fieldValidation=Strict", text)
    assert strict.status == 400
    assert 'duplicate field "k"' in strict.body["message"]
    warned = await live.call("POST", MAPS, text)
    assert warned.status == 201
    assert warned.warnings == ['299 - "duplicate field \\"k\\""']


async def test_the_issuers_keys_are_published_here_too(live: Any) -> None:
    answer = await live.call("GET", "/openid/v1/jwks", accept="application/jwk-set+json")
    assert json.loads(answer.text)["keys"][0]["kid"] == live.config.ring.active.kid
    answer = await live.call("GET", "/.well-known/openid-configuration")
    assert answer.body["issuer"] == live.config.issuer
    assert answer.body["jwks_uri"] == live.config.issuer + "openid/v1/jwks"


async def test_openapi_is_served_for_every_group_it_lists(live: Any) -> None:
    paths = (await live.call("GET", "/openapi/v3")).body["paths"]
    for entry in paths.values():
        document = await live.call("GET", entry["serverRelativeURL"])
        assert document.status == 200, entry
        assert document.body["openapi"].startswith("3.")
    assert (await live.call("GET", "/openapi/v2")).body["swagger"] == "2.0"


async def test_a_watch_of_one_name_is_a_plain_read(live: Any) -> None:
    """Fails if who may read one object could watch all of them by adding `watch=1`."""
    answer = await live.call("GET", f"{MAPS}/kube-root-ca.crt?watch=1&timeoutSeconds=1")
    assert answer.body["kind"] == "ConfigMap"


APPLY = "application/apply-patch+yaml"


async def test_yaml_that_stands_for_more_than_it_is_is_refused(live: Any) -> None:
    """Fails if aliases are followed: nine lines of them would fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join(lines).encode()
    answer = await live.call("PATCH", f"{MAPS}/a?fieldManager=me", text, content_type=APPLY)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_a_date_in_yaml_is_text(live: Any) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  day: 2026-01-01\n"
    answer = await live.call("PATCH", f"{MAPS}/a?fieldManager=me", text, content_type=APPLY)
    assert answer.body["data"] == {"day": "2026-01-01"}
