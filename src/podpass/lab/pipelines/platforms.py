"""The jobs of pipeline platforms: what their tokens contain, and how a job gets them. Pure.

A job is named by a text such as `github:contoso/app:ref:refs/heads/main`; the part after the project is the
end of the subject, in the form of the platform.

Source: https://docs.github.com/actions/reference/security/oidc
        https://docs.gitlab.com/ci/secrets/id_token_authentication/
        https://developer.hashicorp.com/terraform/cloud-docs/workspaces/dynamic-provider-credentials/workload-identity-tokens
        https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust
"""

import re
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from podpass import guids
from podpass.directory.claims_expression import GITHUB_ISSUER
from podpass.errors import UsageError
from podpass.exchange.client_auth.managed_identity_assertion import (
    DEVOPS_CLIENT,
    FEDERATION_CLAIM,
    connection_prefix,
)
from podpass.settings.azure import PIPELINES

GITHUB, GITLAB, TERRAFORM, AZURE_DEVOPS = PIPELINES
# The id of the organization follows that of Azure DevOps.
ISSUERS = {
    GITHUB: GITHUB_ISSUER,
    GITLAB: "https://gitlab.com",
    TERRAFORM: "https://app.terraform.io",
    AZURE_DEVOPS: "https://vstoken.dev.azure.com/",
}
_NAMES = uuid.UUID("6f0d4c1e-8a4f-5a06-9a60-6f5d0a1d7c11")
_SHA = "0123456789abcdef0123456789abcdef01234567"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
# In a subject, GitHub writes `:` in the name of an environment as `%3A`.
_GITHUB_SUBJECT = re.compile(
    r"(?:repository_owner_id:(?P<by_owner_id>[0-9]+):repository_id:(?P<by_id>[0-9]+)"
    rf"|(?P<owner>{_PART})(?:@(?P<owner_id>[0-9]+))?/(?P<repository>{_PART})(?:@(?P<id>[0-9]+))?)"
    r":(?P<context>pull_request|environment:(?P<environment>[^:]+)|ref:(?P<ref>refs/(?:heads|tags)/[^:]+))"
    r"(?::job_workflow_ref:(?P<called>[^:]+))?"
)
# The claim of a service connection that was recorded from Entra.
_CONNECTION_MARK = "CAAQARgAIAA"
_RUN_PHASES = ("plan", "apply")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of a platform.

    `claims` has everything but `aud` and the times. Units: `seconds` is the lifetime of its tokens.
    `connection` is the id of a service connection. With `is_entra`, Entra issues the tokens: `of_tenant`
    completes the issuer and the subject.
    """

    platform: str
    issuer: str
    subject: str
    claims: Mapping[str, Any]
    seconds: int
    connection: str = ""
    is_entra: bool = False

    def of_tenant(self, tenant_id: str) -> "Job":
        """Return the job as a tenant knows it."""
        if not self.is_entra:
            return self
        issuer = f"https://login.microsoftonline.com/{tenant_id}/v2.0"
        subject = connection_prefix(tenant_id) + self.subject
        return replace(self, issuer=issuer, subject=subject)


def parse_job(text: str) -> Job:
    """Parse the name of a job. Raises UsageError."""
    platform, colon, rest = text.partition(":")
    if not colon or platform not in PIPELINES:
        raise UsageError(
            f"{text!r} is not a job of a pipeline",
            hint=f"begin with {', '.join(f'{each}:' for each in PIPELINES)}; for example {_EXAMPLES[GITHUB]}",
        )
    job = _PARSERS[platform](rest)
    if job is None:
        raise UsageError(
            f"{text!r} is not a job of {platform}", hint=f"for example {_EXAMPLES[platform]}"
        )
    return job


def _number(*parts: str) -> str:
    """Return an id of a name, which stays the same."""
    return str(10_000_000 + zlib.crc32("/".join(parts).encode()) % 900_000_000)


def _guid(*parts: str) -> str:
    return str(uuid.uuid5(_NAMES, "/".join(parts)))


def _parse_github(rest: str) -> Job | None:
    """Parse PREFIX:CONTEXT, where a called workflow can follow.

    PREFIX is OWNER/REPO, the immutable OWNER@ID/REPO@ID, or repository_owner_id:ID:repository_id:ID.
    """
    found = _GITHUB_SUBJECT.fullmatch(rest)
    if found is None:
        return None
    owner_id, repository_id = (
        found["by_owner_id"] or found["owner_id"],
        found["by_id"] or found["id"],
    )
    if (owner_id is None) != (repository_id is None):
        return None
    owner = found["owner"] or f"owner-{owner_id}"
    repository = found["repository"] or f"repository-{repository_id}"
    context, environment, ref = found["context"], found["environment"], found["ref"]
    full = f"{owner}/{repository}"
    is_request = context == "pull_request"
    ref = ref or ("refs/pull/1/merge" if is_request else "refs/heads/main")
    workflow = f"{full}/.github/workflows/deploy.yml@{ref}"
    claims = {
        "ref": ref,
        "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
        "sha": _SHA,
        "repository": full,
        "repository_id": repository_id or _number(full),
        "repository_owner": owner,
        "repository_owner_id": owner_id or _number(owner),
        "repository_visibility": "private",
        "actor": "octocat",
        "actor_id": _number("octocat"),
        "workflow": "deploy",
        "workflow_ref": workflow,
        "workflow_sha": _SHA,
        "job_workflow_ref": found["called"] or workflow,
        "job_workflow_sha": _SHA,
        "event_name": "pull_request" if is_request else "push",
        "head_ref": "feature" if is_request else "",
        "base_ref": "main" if is_request else "",
        "run_id": _number(rest),
        "run_number": "1",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
    }
    if environment:
        claims["environment"] = environment
    return Job(
        platform=GITHUB,
        issuer=ISSUERS[GITHUB],
        subject=rest if found["by_id"] else f"repo:{rest}",
        claims=claims,
        seconds=300,
    )


def _parse_gitlab(rest: str) -> Job | None:
    """Parse PATH:ref_type:TYPE:ref:REF; with a number as PATH the subject leads with the project's id."""
    found = re.fullmatch(rf"((?:{_PART}/)*{_PART}):ref_type:(branch|tag):ref:(.+)", rest)
    if found is None:
        return None
    project, kind, ref = found.groups()
    is_id = project.isdecimal()
    path = f"group/project-{project}" if is_id else project
    claims = {
        "project_id": project if is_id else _number(project),
        "project_path": path,
        "namespace_id": _number(path.rpartition("/")[0]),
        "namespace_path": path.rpartition("/")[0],
        "user_login": "developer",
        "pipeline_id": _number(rest),
        "pipeline_source": "push",
        "job_id": _number(rest, "job"),
        "ref": ref,
        "ref_type": kind,
        "ref_path": f"refs/{'heads' if kind == 'branch' else 'tags'}/{ref}",
        "ref_protected": "true",
        "runner_environment": "gitlab-hosted",
        "sha": _SHA,
    }
    leading = f"project_id:{project}" if is_id else f"project_path:{project}"
    return Job(
        platform=GITLAB,
        issuer=ISSUERS[GITLAB],
        subject=f"{leading}:ref_type:{kind}:ref:{ref}",
        claims=claims,
        seconds=300,
    )


def _parse_terraform(rest: str) -> Job | None:
    found = re.fullmatch(rf"({_PART})/([^/:]+)/({_PART}):run_phase:({'|'.join(_RUN_PHASES)})", rest)
    if found is None:
        return None
    organization, project, workspace, phase = found.groups()
    claims = {
        "terraform_organization_id": f"org-{_number(organization)}",
        "terraform_organization_name": organization,
        "terraform_project_id": f"prj-{_number(organization, project)}",
        "terraform_project_name": project,
        "terraform_workspace_id": f"ws-{_number(rest)}",
        "terraform_workspace_name": workspace,
        "terraform_full_workspace": f"organization:{organization}:project:{project}:workspace:{workspace}",
        "terraform_run_id": f"run-{_number(rest, 'run')}",
        "terraform_run_phase": phase,
    }
    return Job(
        platform=TERRAFORM,
        issuer=ISSUERS[TERRAFORM],
        subject=f"{claims['terraform_full_workspace']}:run_phase:{phase}",
        claims=claims,
        seconds=7200,
    )


def _parse_azure_devops(rest: str) -> Job | None:
    """Parse ORGANIZATION/PROJECT/CONNECTION, or the ids ORGANIZATION/CONNECTION with Entra as the issuer."""
    ids = re.fullmatch(rf"({guids.PATTERN})/({guids.PATTERN})", rest)
    if ids is not None:
        client = {"azp": DEVOPS_CLIENT, "azpacr": "2", "idtyp": "app", "ver": "2.0"}
        return Job(
            platform=AZURE_DEVOPS,
            issuer="",
            subject=rest.lower(),
            claims={**client, FEDERATION_CLAIM: _CONNECTION_MARK},
            seconds=600,
            connection=ids[2].lower(),
            is_entra=True,
        )
    found = re.fullmatch(rf"({_PART})/([^/:]+)/([^/:]+)", rest)
    if found is None:
        return None
    return Job(
        platform=AZURE_DEVOPS,
        issuer=f"{ISSUERS[AZURE_DEVOPS]}{_guid(found[1])}",
        subject=f"sc://{rest}",
        claims={"service_connection_id": _guid(rest)},
        seconds=600,
        connection=_guid(rest),
    )


_PARSERS: Mapping[str, Callable[[str], Job | None]] = {
    GITHUB: _parse_github,
    GITLAB: _parse_gitlab,
    TERRAFORM: _parse_terraform,
    AZURE_DEVOPS: _parse_azure_devops,
}
_EXAMPLES = {
    GITHUB: "github:contoso/app:ref:refs/heads/main",
    GITLAB: "gitlab:contoso/app:ref_type:branch:ref:main",
    TERRAFORM: "terraform:contoso/network/prod:run_phase:apply",
    AZURE_DEVOPS: "azure-devops:contoso/project/connection",
}


def describe_environment(
    job: Job, base: str, request_token: str, sign: Callable[[], str]
) -> dict[str, str]:
    """Return the variables that a job of the platform has.

    `base` is the address of the request protocols, `request_token` the bearer token for them; `sign` returns
    a token of the job for Entra.
    """
    if job.platform == GITHUB:
        # The clients append `&audience=`, so the address has a query already.
        url = f"{base}/github?api-version=2.0"
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": job.claims["repository"],
            "GITHUB_REF": job.claims["ref"],
            "ACTIONS_ID_TOKEN_REQUEST_URL": url,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": request_token,
            "ARM_OIDC_REQUEST_URL": url,
            "ARM_OIDC_REQUEST_TOKEN": request_token,
        }
    if job.platform == AZURE_DEVOPS:
        return {
            "TF_BUILD": "True",
            "SYSTEM_OIDCREQUESTURI": f"{base}/azure-devops",
            "SYSTEM_ACCESSTOKEN": request_token,
            "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": job.connection,
        }
    if job.platform == GITLAB:
        return {"GITLAB_CI": "true", "GITLAB_OIDC_TOKEN": sign()}
    return {"TFC_WORKLOAD_IDENTITY_TOKEN": sign()}
