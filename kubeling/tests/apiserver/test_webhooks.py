"""Mutating webhooks over HTTPS: which are called, in which order, and how responses are applied."""

import base64
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from kubeling.server import listen, serving
from tests.apiserver.webhook_server import PODS, annotate, patch, pod

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


async def configure(live: Any, *specs: dict[str, Any], name: str = "m") -> None:
    made = await live.call(
        "POST", CONFIGURATIONS, {"metadata": {"name": name}, "webhooks": list(specs)}
    )
    assert made.status == 201, made.text


async def test_webhook_gets_the_defaulted_pod(live: Any, hook: Any) -> None:
    one = await hook()
    await configure(live, one.spec(timeoutSeconds=7))
    assert (await live.call("POST", PODS, pod())).status == 201
    (asked,) = one.requests
    assert asked["operation"] == "CREATE"
    assert (asked["namespace"], asked["name"], asked["dryRun"]) == ("default", "p", False)
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert asked["resource"] == {"group": "", "version": "v1", "resource": "pods"}
    assert asked["userInfo"]["username"] == "admin"
    assert asked["query"] == "timeout=7s"
    assert asked["oldObject"] is None
    seen = asked["object"]
    assert (seen["kind"], seen["apiVersion"]) == ("Pod", "v1")
    assert seen["spec"]["serviceAccountName"] == "default"
    assert seen["spec"]["volumes"][0]["name"].startswith("kube-api-access-")
    assert "uid" not in seen["metadata"]


async def test_mutating_webhook_does_not_get_the_generated_name(live: Any, hook: Any) -> None:
    one = await hook()
    await configure(live, one.spec())
    body = pod(generateName="web-")
    del body["metadata"]["name"]
    made = await live.call("POST", PODS, body)
    assert made.body["metadata"]["name"].startswith("web-")
    assert "name" not in one.requests[0]
    assert one.requests[0]["object"]["metadata"]["generateName"] == "web-"


async def test_patch_is_applied_and_new_containers_get_defaults_and_the_token(
    live: Any, hook: Any
) -> None:
    added = {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "s:1"}}
    one = await hook(patch(added))
    await configure(live, one.spec())
    made = await live.call("POST", PODS, pod())
    side = made.body["spec"]["containers"][1]
    assert side["imagePullPolicy"] == "IfNotPresent"
    assert side["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert len(made.body["spec"]["volumes"]) == 1


async def test_webhooks_are_called_in_order_of_configuration_name_then_as_listed(
    live: Any, hook: Any
) -> None:
    order: list[str] = []

    def recording(name: str) -> Callable[[Any], dict[str, Any]]:
        return lambda _request: order.append(name) or {"allowed": True}  # type: ignore[func-returns-value]  # append returns None

    hooks = [await hook(recording(name)) for name in ("b1", "a2", "a1")]
    await configure(live, hooks[0].spec("b1.example.com"), name="b")
    await configure(live, hooks[2].spec("z.example.com"), hooks[1].spec("y.example.com"), name="a")
    await live.call("POST", PODS, pod())
    assert order == ["a1", "a2", "b1"]


async def test_webhook_is_reinvoked_after_a_later_change_if_needed(live: Any, hook: Any) -> None:
    def first(request: Any) -> dict[str, Any]:
        if "late" in (request["object"]["metadata"].get("annotations") or {}):
            return patch({"op": "add", "path": "/metadata/annotations/seen", "value": "late"})
        return {"allowed": True}

    wants, does_not, last = await hook(first), await hook(), await hook(patch(annotate("late")))
    await configure(
        live,
        wants.spec("a.example.com", reinvocationPolicy="IfNeeded"),
        does_not.spec("b.example.com"),
        last.spec("c.example.com", reinvocationPolicy="IfNeeded"),
    )
    made = await live.call("POST", PODS, pod())
    assert made.body["metadata"]["annotations"] == {"late": "x", "seen": "late"}
    assert [len(each.requests) for each in (wants, does_not, last)] == [2, 1, 1]


async def test_denial_has_the_webhooks_message_and_nothing_is_stored(live: Any, hook: Any) -> None:
    """Fails if a denial is ignored."""
    one = await hook({"allowed": False, "status": {"message": "not today", "code": 400}})
    await configure(live, one.spec(failurePolicy="Ignore"))
    refused = await live.call("POST", PODS, pod())
    assert refused.status == 400
    assert refused.body["message"] == (
        'admission webhook "h.example.com" denied the request: not today'
    )
    assert (await live.call("GET", f"{PODS}/p")).status == 404


async def test_denial_with_an_invalid_status_code_is_a_bad_request(live: Any, hook: Any) -> None:
    """Fails if a webhook can set any HTTP status of the response."""
    one = await hook({"allowed": False, "status": {"code": 700}})
    await configure(live, one.spec())
    assert (await live.call("POST", PODS, pod())).status == 400


async def test_denial_without_a_message_is_a_bad_request(live: Any, hook: Any) -> None:
    one = await hook({"allowed": False})
    await configure(live, one.spec())
    refused = await live.call("POST", PODS, pod())
    assert (refused.status, refused.body.get("reason")) == (400, None)
    assert refused.body["message"].endswith("denied the request without explanation")


BROKEN: dict[str, tuple[str, Any]] = {
    "status 500": ("status", 500),
    "no response in time": ("seconds", 1.5),
    "uid of another request": ("uid", "00000000-0000-4000-8000-000000000000"),
    "allowed is text": ("response", {"allowed": "yes"}),
    "no allowed": ("response", {}),
    "no response": ("response", 5),
    "megabytes": ("response", {"allowed": True, "padding": "x" * (3 << 20)}),
    "patch of unknown type": ("response", {"allowed": True, "patch": "W10=", "patchType": "Merge"}),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_failing_webhook_refuses_the_request_unless_its_policy_is_ignore(
    live: Any, hook: Any, how: str
) -> None:
    """Fails if an invalid response counts as allowed: the pod would start without its identity."""
    one = await hook()
    setattr(one, *BROKEN[how])
    await configure(live, one.spec(timeoutSeconds=1))
    refused = await live.call("POST", PODS, pod())
    assert (refused.status, refused.body["reason"]) == (500, "InternalError")
    assert 'failed calling webhook "h.example.com"' in refused.body["message"]
    change = {"webhooks": [one.spec(timeoutSeconds=1, failurePolicy="Ignore")]}
    merge = "application/merge-patch+json"
    await live.call("PATCH", f"{CONFIGURATIONS}/m", change, content_type=merge)
    assert (await live.call("POST", PODS, pod())).status == 201


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/spec/nope"},
        {"op": "add", "path": "/spec/hostNetwork", "value": "yes"},
        {"op": "explode", "path": "/spec"},
    ],
)
async def test_webhook_patch_that_cannot_be_applied_is_refused(
    live: Any, hook: Any, operation: Any
) -> None:
    one = await hook(patch(operation))
    await configure(live, one.spec())
    refused = await live.call("POST", PODS, pod())
    assert (refused.status, refused.body["reason"]) == (500, "InternalError")


async def test_object_patched_by_a_webhook_is_validated(live: Any, hook: Any) -> None:
    """Fails if validation runs before admission."""
    one = await hook(patch({"op": "replace", "path": "/spec/containers/0/image", "value": ""}))
    await configure(live, one.spec())
    refused = await live.call("POST", PODS, pod())
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")


async def test_webhook_with_an_untrusted_certificate_is_refused(live: Any, hook: Any) -> None:
    """Fails if TLS is not verified."""
    one = await hook(patch(annotate("x")))
    other = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()
    await configure(live, one.spec(clientConfig={"url": one.url, "caBundle": other}))
    refused = await live.call("POST", PODS, pod())
    assert refused.status == 500
    assert not one.requests


async def test_selectors_and_rules_decide_which_webhooks_are_called(live: Any, hook: Any) -> None:
    one = await hook()
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    only = {"kubernetes.io/metadata.name": "kube-system"}
    await configure(
        live,
        one.spec(rules=[everything], namespaceSelector={"matchLabels": only}, objectSelector={}),
    )
    await live.call("POST", PODS, pod())
    assert not one.requests
    maps = "/api/v1/namespaces/kube-system/configmaps"
    await live.call("POST", maps, {"metadata": {"name": "m"}})
    patched = {"data": {"a": "b"}}
    merge = "application/merge-patch+json"
    await live.call("PATCH", f"{maps}/m", patched, content_type=merge)
    await live.call("DELETE", f"{maps}/m")
    assert [asked["operation"] for asked in one.requests] == ["CREATE", "UPDATE", "DELETE"]
    assert one.requests[1]["oldObject"]["metadata"]["name"] == "m"
    assert one.requests[2]["object"] is None


async def test_webhook_is_not_called_for_an_unlabelled_pod(live: Any, hook: Any) -> None:
    one = await hook({"allowed": False})
    await configure(live, one.spec())
    assert (await live.call("POST", PODS, pod(labels={}))).status == 201
    assert not one.requests


async def test_subresource_needs_its_own_webhook_rule(live: Any, hook: Any) -> None:
    one = await hook()
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"]}
    await configure(
        live,
        one.spec(objectSelector={}, rules=[rule | {"resources": ["pods/binding", "pods/status"]}]),
    )
    await live.call("POST", PODS, pod())
    assert not one.requests
    target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await live.call("POST", f"{PODS}/p/binding", target)).status == 201
    merge = "application/merge-patch+json"
    await live.call(
        "PATCH", f"{PODS}/p/status", {"status": {"phase": "Running"}}, content_type=merge
    )
    assert [asked["subResource"] for asked in one.requests] == ["binding", "status"]
    assert one.requests[0]["kind"]["kind"] == "Binding"


async def test_match_conditions_are_refused_and_not_ignored(live: Any, hook: Any) -> None:
    """Fails if a webhook is called for requests that its conditions exclude."""
    one = await hook()
    condition = {"name": "only-web", "expression": "object.metadata.name == 'web'"}
    body = {"metadata": {"name": "m"}, "webhooks": [one.spec(matchConditions=[condition])]}
    refused = await live.call("POST", CONFIGURATIONS, body)
    assert refused.status == 422
    (cause,) = refused.body["details"]["causes"]
    assert cause["field"] == "webhooks[0].matchConditions"


async def test_dry_run_calls_only_webhooks_without_side_effects(live: Any, hook: Any) -> None:
    one = await hook(patch(annotate("tried")))
    await configure(live, one.spec(sideEffects="NoneOnDryRun"))
    tried = await live.call("POST", f"{PODS}?dryRun=All", pod())
    assert tried.body["metadata"]["annotations"] == {"tried": "x"}
    assert one.requests[0]["dryRun"] is True
    assert (await live.call("GET", f"{PODS}/p")).status == 404


async def test_webhook_service_is_called_at_its_configured_origin(serve: Any, hook: Any) -> None:
    one = await hook(patch(annotate("by", "service")))
    live = await serve(services={"one/hooks:443": one.url.removesuffix("/mutate")})
    service = {"name": "hooks", "namespace": "one", "path": "/mutate"}
    await configure(live, one.spec(clientConfig={"service": service, "caBundle": one.bundle}))
    made = await live.call("POST", PODS, pod())
    assert made.body["metadata"]["annotations"] == {"by": "service"}
    unknown = one.spec(clientConfig={"service": service | {"name": "x"}, "caBundle": one.bundle})
    await configure(live, unknown, name="n")
    refused = await live.call("POST", PODS, pod("q"))
    assert refused.status == 500
    assert 'service "x" not found' in refused.body["message"]


def endpoint_slice(port: int, name: str = "", pod_name: str = "hooks") -> dict[str, Any]:
    reference = {"kind": "Pod", "name": pod_name}
    return {
        "metadata": {"name": f"of-{pod_name}", "labels": {"kubernetes.io/service-name": "hooks"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["127.64.0.9"], "conditions": {"ready": False}},
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": True},
                "targetRef": reference,
            },
        ],
        "ports": [{"name": "other", "port": 1}, {"name": name, "port": port}],
    }


async def test_webhook_service_is_called_at_a_ready_pod(live: Any, hook: Any) -> None:
    """Fails if an EndpointSlice alone decides where the webhook is: tenants write such objects."""
    one = await hook(patch(annotate("by", "pod")))
    await live.call("POST", "/api/v1/namespaces", {"metadata": {"name": "one"}})
    for name, address in (("hooks", "127.0.0.1"), ("other", "127.64.0.9")):
        await live.run_pod("one", name, address)
    ports = [{"name": "tls", "port": 8443, "targetPort": 1}, {"name": "other", "port": 1}]
    service = {"metadata": {"name": "hooks"}, "spec": {"ports": ports}}
    await live.call("POST", "/api/v1/namespaces/one/services", service)
    reference = {"name": "hooks", "namespace": "one", "path": "/mutate", "port": 8443}
    await configure(live, one.spec(clientConfig={"service": reference, "caBundle": one.bundle}))
    slices = "/apis/discovery.k8s.io/v1/namespaces/one/endpointslices"
    port = int(one.url.removesuffix("/mutate").rpartition(":")[2])
    named = endpoint_slice(port, "tls") | {"addressType": "FQDN"}
    named["metadata"]["name"], named["endpoints"] = "names", [{"addresses": ["localhost"]}]
    assert (await live.call("POST", slices, named)).status == 201
    for name in ("missing", "other"):
        made = await live.call("POST", slices, endpoint_slice(port, "tls", name))
        assert made.status == 201, made.text
    refused = await live.call("POST", PODS, pod())
    assert (refused.status, refused.body["reason"]) == (500, "InternalError")
    assert 'no endpoints available for service "hooks"' in refused.body["message"]
    made = await live.call("POST", slices, endpoint_slice(port, "tls"))
    assert made.status == 201, made.text
    created = await live.call("POST", PODS, pod())
    assert created.body["metadata"]["annotations"] == {"by": "pod"}
    wrong = one.spec(clientConfig={"service": reference | {"port": 9}, "caBundle": one.bundle})
    await configure(live, wrong, name="n")
    refused = await live.call("POST", PODS, pod("q"))
    assert 'no service port 9 found for service "hooks"' in refused.body["message"]


async def test_warning_with_a_line_break_is_dropped(live: Any, hook: Any) -> None:
    """Fails if a line break in a warning can start another header."""
    one = await hook({"allowed": True, "warnings": ["old image\r\nx-evil: 1", 'a "quote"']})
    await configure(live, one.spec())
    made = await live.call("POST", PODS, pod())
    assert made.warnings == ['299 - "a \\"quote\\""']
    assert "x-evil" not in made.headers


async def test_debug_log_has_the_keys_of_audit_annotations_and_not_their_values(
    live: Any, hook: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("kubeling"), "propagate", True)
    one = await hook({"allowed": True, "auditAnnotations": {"who": "a-value"}})
    await configure(live, one.spec())
    with caplog.at_level(logging.DEBUG, "kubeling"):
        await live.call("POST", PODS, pod())
    (record,) = [each for each in caplog.records if each.message == "webhook_called"]
    assert vars(record)["audit_annotations"] == ["who"]
    assert "a-value" not in str([vars(each) for each in caplog.records])


async def test_webhook_configurations_are_never_sent_to_a_webhook(live: Any, hook: Any) -> None:
    """Fails if a broken webhook can refuse its own removal."""
    one = await hook({"allowed": False})
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    await configure(live, one.spec(rules=[everything], objectSelector={}))
    assert (await live.call("POST", PODS, pod())).status == 400
    assert (await live.call("DELETE", f"{CONFIGURATIONS}/m")).status == 200
    assert (await live.call("POST", PODS, pod())).status == 201


async def test_restarted_webhook_is_called_on_a_new_connection(
    live: Any, hook: Any, tmp_path: Path
) -> None:
    first = await hook()
    files = tmp_path / "hook.pem", tmp_path / "hook.key"
    sock = listen()
    port = sock.getsockname()[1]
    url = f"https://127.0.0.1:{port}/mutate"
    async with serving(first.app, sock, *files):
        await configure(live, first.spec(clientConfig={"url": url, "caBundle": first.bundle}))
        assert (await live.call("POST", PODS, pod("one"))).status == 201
    refused = await live.call("POST", PODS, pod("two"))
    assert (refused.status, refused.body["reason"]) == (500, "InternalError")
    assert (await live.call("POST", PODS, pod("free", labels={}))).status == 201
    async with serving(first.app, listen(port), *files):
        assert (await live.call("POST", PODS, pod("three"))).status == 201


async def test_redirect_of_a_webhook_is_not_followed(live: Any, hook: Any) -> None:
    """Fails if redirects are followed: pods would be sent to a server that is not configured."""
    one, other = await hook(), await hook()
    one.location = other.url
    await configure(live, one.spec())
    assert (await live.call("POST", PODS, pod())).status == 500
    assert len(one.requests) == 1
    assert not other.requests


async def test_webhook_patch_of_copies_is_refused_above_the_limit(live: Any, hook: Any) -> None:
    """Hangs if copies are not counted, and fails if the size of the result is not checked."""
    labels = "/metadata/annotations"
    copies = [{"op": "copy", "from": "/metadata", "path": f"{labels}/k{at}"} for at in range(40)]
    one = await hook(patch(annotate("x", "y" * 1000), *copies))
    await configure(live, one.spec())
    refused = await live.call("POST", PODS, pod())
    assert refused.status == 500
    assert "copies more than" in refused.body["message"]


async def test_webhook_patch_above_the_body_limit_is_refused(live: Any, hook: Any) -> None:
    large = {"op": "add", "path": "/spec/containers/0/args", "value": ["y" * (1 << 20)]}
    one = await hook(patch(large))
    await configure(live, one.spec())
    body = pod()
    body["spec"]["containers"][0]["command"] = ["z" * (5 << 19)]
    sent = io.BytesIO(json.dumps(body).encode())
    refused = await live.call("POST", PODS, sent)
    assert refused.status == 500
    assert "larger than" in refused.body["message"]
