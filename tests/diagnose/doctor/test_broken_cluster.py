"""Each broken set-up of the cluster half is named exactly, and a healthy one is not."""

from pathlib import Path

import pytest

from podpass import names
from podpass.diagnose.doctor.checks import CHECKS
from podpass.diagnose.doctor.cluster_facts import WorkloadRef
from podpass.diagnose.doctor.model import Diagnosis
from podpass.diagnose.doctor.run import diagnose
from podpass.kubernetes.client import KubeClient
from tests.diagnose.doctor.broken_cluster import OTHER, SETUPS, STOPPED, BrokenSetup, build_status
from tests.diagnose.doctor.lab import CLIENT, TENANT, Lab, pod_spec, read_no_cloud

_WITHOUT_A_SIGN_IN = {
    "no sign-in to the cloud was chosen: pass --auth-method",
    "the cloud of the identity is not known",
}


@pytest.mark.parametrize("setup", SETUPS, ids=lambda each: each.name)
async def test_broken_cluster_setup_has_exactly_its_findings(lab: Lab, setup: BrokenSetup) -> None:
    await setup.arrange(lab)
    found = await lab.diagnose(account=setup.account)
    assert tuple(each.check for each in found.findings) == setup.checks
    for each in found.findings:
        assert each.object
        assert each.message
        assert each.fix


# Set-ups without a pod, and set-ups whose pod has its own status.
_WITHOUT = {"pod-missing", "pod-unscheduled", "container-not-running", "proxy-not-running"}


@pytest.mark.parametrize(
    "setup",
    [each for each in SETUPS if not each.account and not _WITHOUT & {*each.checks}],
    ids=lambda each: each.name,
)
async def test_cause_is_named_before_the_stopped_container(lab: Lab, setup: BrokenSetup) -> None:
    await setup.arrange(lab)
    path = f"/api/v1/namespaces/{lab.namespace}/pods/web/status"
    for state in STOPPED.values():
        await lab.client.patch(path, {"status": build_status("app", state, restarts=1)})
        found = await lab.diagnose()
        assert [each.check for each in found.findings] == [
            *(setup.checks if setup.name != "key_of_a_secret_does_not_exist" else ()),
            "container-not-running",
        ]


async def test_optional_secret_may_be_absent_and_an_unreadable_one_is_not_checked(lab: Lab) -> None:
    await lab.account()
    await lab.pod(
        volumes=[
            {"name": "one", "secret": {"secretName": "absent", "optional": True}},
            {"name": "two", "secret": {"secretName": "present"}},
        ]
    )
    secrets = f"/api/v1/namespaces/{lab.namespace}/secrets"
    await lab.client.create(secrets, {"kind": "Secret", "metadata": {"name": "present"}})
    assert (await lab.diagnose()).findings == []
    found = await _diagnose_as(lab, await lab.as_reader("pods", "serviceaccounts"))
    unread = {each.check: each for each in found.not_checked}
    assert unread["reference-missing"].optional
    assert 'secrets "present" is forbidden' in unread["reference-missing"].reason


def _unread_of_the_cluster(found: Diagnosis) -> list[str]:
    """Return the required checks that were not possible, but for those of the cloud: no user is signed in."""
    return [
        each.check
        for each in found.not_checked
        if not each.optional and each.reason not in _WITHOUT_A_SIGN_IN
    ]


async def test_healthy_pod_has_no_finding(lab: Lab) -> None:
    await lab.account()
    made = await lab.pod()
    found = await lab.diagnose()
    assert found.findings == []
    assert not _unread_of_the_cluster(found)
    variables = {each["name"]: each["value"] for each in made["spec"]["containers"][0]["env"]}
    assert variables[names.ENV_CLIENT_ID] == CLIENT
    assert variables[names.ENV_TENANT_ID] == TENANT


async def test_healthy_account_without_a_pod_has_no_finding(lab: Lab) -> None:
    await lab.account()
    found = await lab.diagnose(account="web")
    assert found.findings == []
    assert not _unread_of_the_cluster(found)


async def test_healthy_pod_template_without_a_pod_has_no_finding(lab: Lab) -> None:
    await lab.account()
    await lab.deployment(on_template=True, with_pod=False)
    found = await lab.diagnose(controller="Deployment/web")
    assert found.workload == f"pod template of Deployment {lab.namespace}/web"
    assert found.findings == []
    assert not _unread_of_the_cluster(found)


async def test_pod_template_is_examined_before_a_pod_has_it(lab: Lab) -> None:
    """The pod is healthy; the next one would not be."""
    await lab.account()
    await lab.deployment(on_template=True)
    await lab.label_template("web", "yes")
    assert (await lab.diagnose()).findings == []
    [finding] = (await lab.diagnose(controller="Deployment/web")).findings
    assert finding.check == "label-not-true"
    assert finding.fix.startswith(f"kubectl patch deployment web -n {lab.namespace} -p")


async def test_pod_template_that_the_webhook_refuses_is_named(lab: Lab) -> None:
    await lab.account(service_account_token_expiration="60")
    await lab.deployment(on_template=True, with_pod=False)
    found = await lab.diagnose(controller="Deployment/web")
    assert [each.check for each in found.findings] == ["annotation-invalid"]


async def test_template_of_a_job_is_fixed_in_the_manifest_of_the_job(lab: Lab) -> None:
    await lab.account()
    spec = {"template": {"spec": pod_spec(None, restartPolicy="Never")}, "suspend": True}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": spec}
    await lab.client.create(f"/apis/batch/v1/namespaces/{lab.namespace}/jobs", body)
    [finding] = (await lab.diagnose(controller="Job/once")).findings
    assert finding.check == "label-missing"
    assert finding.fix.endswith("then delete the Job and create it again")


async def test_healthy_webhook_with_a_service_has_no_finding(lab: Lab) -> None:
    await lab.service()
    await lab.register_service()
    await lab.account()
    await lab.pod()
    assert (await lab.diagnose()).findings == []


async def _diagnose_as(lab: Lab, kubeconfig: Path) -> Diagnosis:
    workload = WorkloadRef(namespace=lab.namespace, pod="web")
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        [found] = await diagnose(client, [workload], read_cloud=read_no_cloud)
    return found


async def test_objects_that_the_caller_cannot_read_are_reported_as_not_checked(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    found = await _diagnose_as(lab, await lab.as_reader("pods", "serviceaccounts"))
    assert found.findings == []
    assert _unread_of_the_cluster(found)
    unread = {each.check: each.reason for each in found.not_checked}
    assert {"namespace-missing", "webhook-missing", "namespace-exempt", "pod-outdated"} <= {*unread}
    assert "cannot" in unread["webhook-missing"]
    assert "label-missing" in found.passed
    assert "client-id-missing" in found.passed


async def test_outdated_pod_is_reported_without_permission_to_create_pods(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.annotate(client_id=OTHER)
    found = await _diagnose_as(lab, await lab.as_reader("pods", "serviceaccounts"))
    [finding] = found.findings
    assert finding.check == "pod-outdated"
    assert OTHER in finding.message


async def test_fix_after_a_client_id_change_is_a_conditional_restart(lab: Lab) -> None:
    await lab.account()
    await lab.pod()
    await lab.annotate(client_id=OTHER)
    [finding] = (await lab.diagnose()).findings
    assert finding.fix.startswith("if the new client id is right: ")
    assert finding.fix.endswith(f"--overwrite {names.CLIENT_ID}={CLIENT}")


async def test_fix_of_a_malformed_annotation_is_the_client_id_of_the_pod(lab: Lab) -> None:
    await lab.account()
    await lab.deployment(on_template=True)
    await lab.annotate(client_id="my-identity")
    [finding] = (await lab.diagnose()).findings
    assert finding.check == "client-id-malformed"
    assert finding.fix.endswith(f"--overwrite {names.CLIENT_ID}={CLIENT}")


async def test_fix_of_an_annotation_with_blanks_or_braces_is_the_plain_guid(lab: Lab) -> None:
    await lab.account(client_id=f" {{{CLIENT}}} ")
    [finding] = (await lab.diagnose(account="web")).findings
    assert finding.fix.endswith(f"--overwrite {names.CLIENT_ID}={CLIENT}")


async def test_caller_without_any_right_gets_no_finding(lab: Lab) -> None:
    await lab.account(client_id="not a GUID")
    await lab.pod(labels={})
    found = await _diagnose_as(lab, await lab.as_reader("services"))
    assert found.findings == []
    assert _unread_of_the_cluster(found)


def test_every_check_has_its_own_id() -> None:
    listed = [each.id for each in CHECKS]
    assert len(set(listed)) == len(listed)
