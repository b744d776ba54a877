"""Use a cluster with the official Python client, in its own process; exits with 0 if every check passed."""

import sys
from typing import Any

import kubernetes

client: Any = kubernetes.client
config: Any = kubernetes.config
watch: Any = kubernetes.watch


def status_of_read(core: Any) -> int:
    try:
        core.read_namespaced_pod("p", "default")
    except client.ApiException as exc:
        return int(exc.status)
    return 200


def main(kubeconfig: str) -> None:
    with config.new_client_from_config(kubeconfig) as api:
        core = client.CoreV1Api(api)
        account = client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="web"))
        core.create_namespaced_service_account("default", account)
        container = client.V1Container(name="c", image="i")
        spec = client.V1PodSpec(containers=[container], service_account_name="web")
        body = client.V1Pod(metadata=client.V1ObjectMeta(name="p", labels={"a": "b"}), spec=spec)
        made = core.create_namespaced_pod("default", body)
        assert made.status.phase == "Pending"
        listed = core.list_namespaced_pod("default", label_selector="a=b")
        assert [item.metadata.name for item in listed.items] == ["p"]
        page = core.list_config_map_for_all_namespaces(limit=1)
        names = [each.metadata.namespace for each in page.items]
        while page.metadata._continue:
            token = page.metadata._continue
            page = core.list_config_map_for_all_namespaces(limit=1, _continue=token)
            names += [each.metadata.namespace for each in page.items]
        assert names == sorted(names)
        assert {"default", "kube-system"} <= set(names)
        core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"c": "d"}}})
        stream = watch.Watch().stream(
            core.list_namespaced_pod,
            "default",
            resource_version=listed.metadata.resource_version,
            timeout_seconds=1,
        )
        seen = [(event["type"], event["object"].metadata.labels) for event in stream]
        assert seen == [("MODIFIED", {"a": "b", "c": "d"})]
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=["x"], expiration_seconds=3600)
        )
        token = core.create_namespaced_service_account_token("web", "default", request)
        assert token.status.token.count(".") == 2
        core.delete_namespaced_pod("p", "default")
        assert status_of_read(core) == 404
        rules = client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods")
        )
        review = client.V1SelfSubjectAccessReview(spec=rules)
        answer = client.AuthorizationV1Api(api).create_self_subject_access_review(review)
        assert answer.status.allowed is True
        api.rest_client.pool_manager.clear()  # the client does not close its connections


if __name__ == "__main__":
    main(sys.argv[1])
