"""Creation of objects: defaults, names, and requests that are refused before validation."""

import re
from typing import Any

import pytest

from tests.control_plane.contract.api import Api, check_refused, config_map, deployment, pod


async def test_a_pod_gets_the_defaults_of_the_api(api: Api) -> None:
    spec = (await api.create("pods", pod()))["spec"]
    assert spec["restartPolicy"] == "Always"
    assert spec["dnsPolicy"] == "ClusterFirst"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["serviceAccountName"] == "default"
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "Always"
    assert container["terminationMessagePath"] == "/dev/termination-log"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("i:1", "IfNotPresent"),
        ("i:latest", "Always"),
        ("i", "Always"),
        ("i@sha256:" + "a" * 64, "IfNotPresent"),
    ],
)
async def test_pull_policy_is_always_only_for_images_without_a_tag(
    api: Api, image: str, policy: str
) -> None:
    made = await api.create("pods", pod(containers=[{"name": "c", "image": image}]))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy


async def test_digest_after_a_tag_does_not_change_the_pull_policy(api: Api) -> None:
    image = "i:latest@sha256:" + "a" * 64
    made = await api.create("pods", pod(containers=[{"name": "c", "image": image}]))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"


async def test_a_negative_grace_period_is_one_second(api: Api) -> None:
    made = await api.create("pods", pod(terminationGracePeriodSeconds=-1))
    assert made["spec"]["terminationGracePeriodSeconds"] == 1


async def test_a_negative_grace_period_stays_in_a_template(api: Api) -> None:
    body = deployment(replicas=0)
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = -5
    made = await api.create("deployments", body)
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == -5


@pytest.mark.parametrize("policy", ["Always", "Never", "OnFailure"])
async def test_container_has_a_restart_policy_and_rules_of_its_own(api: Api, policy: str) -> None:
    inits = [{"name": "i", "image": "i", "restartPolicy": policy}]
    again = {"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}
    rules = {"restartPolicy": policy, "restartPolicyRules": [again]}
    main = [{"name": "c", "image": "i", **rules}]
    spec = (await api.create("pods", pod(initContainers=inits, containers=main)))["spec"]
    assert spec["initContainers"][0]["restartPolicy"] == policy
    assert spec["containers"][0].items() >= rules.items()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"restartPolicy": "Odd"}, "restartPolicy"),
        ({"restartPolicy": None}, "restartPolicy"),
        ({"restartPolicyRules": [{"action": "Restart"}]}, "restartPolicyRules[0].exitCodes"),
        (
            {"restartPolicyRules": [{"action": "Odd", "exitCodes": {"operator": "In"}}]},
            "restartPolicyRules[0].action",
        ),
        (
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "Odd"}}]},
            "restartPolicyRules[0].exitCodes.operator",
        ),
        (
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In"}}] * 21},
            "restartPolicyRules",
        ),
    ],
)
@pytest.mark.parametrize("part", ["containers", "initContainers"])
async def test_invalid_restart_rule_of_a_container_is_refused(
    api: Api, part: str, changes: dict[str, Any], field: str
) -> None:
    again = {"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}
    given = {"name": "d", "image": "i", "restartPolicy": "Never", "restartPolicyRules": [again]}
    body = pod()
    body["spec"].setdefault(part, []).append({**given, **changes})
    reply = await api.call("POST", api.path("pods"), body)
    at = len(body["spec"][part]) - 1
    check_refused(reply, 422, "Invalid", f"spec.{part}[{at}].{field}")


async def test_pod_gets_a_token_volume_unless_it_opts_out(api: Api) -> None:
    made = await api.create("pods", pod())
    volume = made["spec"]["volumes"][0]
    assert re.fullmatch(r"kube-api-access-[a-z0-9]{5}", volume["name"])
    sources = [next(iter(each)) for each in volume["projected"]["sources"]]
    assert sources == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3607
    without = await api.create("pods", pod("q", automountServiceAccountToken=False))
    assert "volumes" not in without["spec"]


async def test_pod_of_a_missing_account_is_forbidden(api: Api) -> None:
    reply = await api.call("POST", api.path("pods"), pod(serviceAccountName="missing"))
    check_refused(reply, 403, "Forbidden")


async def test_status_in_a_new_pod_is_replaced_by_pending(api: Api) -> None:
    made = await api.create("pods", pod() | {"status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


async def test_qos_class_follows_requests_and_limits(api: Api) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "1Mi"}}
    limits = {"limits": resources["requests"]}
    container = {"name": "c", "image": "i"}
    burstable = pod("b", containers=[container | {"resources": resources}])
    assert (await api.create("pods", burstable))["status"]["qosClass"] == "Burstable"
    made = await api.create("pods", pod("g", containers=[container | {"resources": limits}]))
    assert made["status"]["qosClass"] == "Guaranteed"
    assert made["spec"]["containers"][0]["resources"]["requests"] == resources["requests"]


async def test_a_deployment_gets_the_defaults_of_its_rollout(api: Api) -> None:
    made = await api.create("deployments", deployment())
    spec = made["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert made["metadata"]["generation"] == 1


async def test_a_generated_name_ends_in_five_letters(api: Api) -> None:
    body = config_map()
    body["metadata"] = {"generateName": "web-"}
    made = await api.create("configmaps", body)
    assert re.fullmatch(r"web-[bcdfghjklmnpqrstvwxz2456789]{5}", made["metadata"]["name"])


async def test_second_object_of_one_name_is_refused(api: Api) -> None:
    await api.create("configmaps", config_map())
    body = check_refused(
        await api.call("POST", api.path("configmaps"), config_map()), 409, "AlreadyExists"
    )
    assert body["details"] == {"name": "m", "kind": "configmaps"}


async def test_creation_in_a_missing_namespace_is_refused(api: Api) -> None:
    reply = await api.call("POST", "/api/v1/namespaces/not-there/configmaps", config_map())
    assert check_refused(reply, 404, "NotFound")["details"]["kind"] == "namespaces"


async def test_a_body_of_another_namespace_is_refused(api: Api) -> None:
    body = config_map()
    body["metadata"]["namespace"] = "elsewhere"
    check_refused(await api.call("POST", api.path("configmaps"), body), 400, "BadRequest")


async def test_a_body_of_another_kind_is_refused(api: Api) -> None:
    check_refused(await api.call("POST", api.path("configmaps"), pod()), 400, "BadRequest")


async def test_resource_version_at_creation_is_refused(api: Api) -> None:
    body = config_map()
    body["metadata"]["resourceVersion"] = "7"
    reply = await api.call("POST", api.path("configmaps"), body)
    assert reply.status == 500
    assert "resourceVersion" in reply.body["message"]
    dry = await api.call("POST", api.path("configmaps") + "?dryRun=All", body)
    assert dry.status == 201


async def test_body_that_is_not_an_object_is_refused(api: Api) -> None:
    check_refused(await api.call("POST", api.path("configmaps"), "{"), 400, "BadRequest")
    reply = await api.call("POST", api.path("configmaps"), "x", content_type="text/csv")
    check_refused(reply, 415, "UnsupportedMediaType")


async def test_yaml_is_accepted_like_json(api: Api) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {a: b}\n"
    made = await api.create("configmaps", text, content_type="application/yaml")
    assert made["data"] == {"a": "b"}


async def test_yaml_may_begin_with_a_brace(api: Api) -> None:
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: flow}}"
    made = await api.create("configmaps", text, content_type="application/yaml")
    assert made["metadata"]["name"] == "flow"


async def test_unknown_fields_are_dropped_warned_about_or_refused(api: Api) -> None:
    body = config_map() | {"extra": 1}
    path = api.path("configmaps") + "?dryRun=All&fieldValidation="
    ignored = await api.call("POST", path + "Ignore", body)
    assert (ignored.status, ignored.warnings) == (201, [])
    assert "extra" not in ignored.body
    warned = await api.call("POST", path + "Warn", body)
    assert warned.status == 201
    assert warned.warnings == ['299 - "unknown field \\"extra\\""']
    check_refused(await api.call("POST", path + "Strict", body), 400, "BadRequest")


async def test_dry_run_returns_the_object_and_stores_nothing(api: Api) -> None:
    made = await api.create("configmaps", config_map(), "?dryRun=All")
    assert made["metadata"]["uid"]
    assert (await api.call("GET", api.path("configmaps", "m"))).status == 404
    reply = await api.call("POST", api.path("configmaps") + "?dryRun=Some", config_map())
    check_refused(reply, 422, "Invalid", "dryRun")


async def test_string_data_of_a_secret_becomes_data(api: Api) -> None:
    body = {"metadata": {"name": "s"}, "stringData": {"a": "b"}, "type": "Opaque"}
    made = await api.create("secrets", body)
    assert made["data"] == {"a": "Yg=="}
    assert "stringData" not in made


async def test_managed_fields_record_the_manager_and_its_fields(api: Api) -> None:
    made = await api.create("configmaps", config_map(a="b"), "?fieldManager=me")
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("me", "Update", "v1")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:a": {}}}


async def test_pod_of_an_unknown_runtime_class_is_refused(api: Api) -> None:
    reply = await api.call("POST", api.path("pods"), pod(runtimeClassName="none"))
    check_refused(reply, 403, "Forbidden")
    assert 'RuntimeClass "none" not found' in reply.body["message"]
