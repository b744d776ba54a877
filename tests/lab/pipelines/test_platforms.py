"""The claims and subjects of jobs, in the forms of each platform."""

import re

import pytest

from podpass.directory.claims_expression import failing_clauses, is_public_issuer
from podpass.errors import UsageError
from podpass.lab.pipelines.platforms import parse_job

# The name of a job, its subject, its issuer, and claims.
JOBS = [
    (
        "github:contoso/app:ref:refs/heads/main",
        "repo:contoso/app:ref:refs/heads/main",
        "https://token.actions.githubusercontent.com",
        {"ref": "refs/heads/main", "ref_type": "branch", "event_name": "push"},
    ),
    (
        "github:contoso/app:ref:refs/tags/v1",
        "repo:contoso/app:ref:refs/tags/v1",
        "https://token.actions.githubusercontent.com",
        {"ref_type": "tag"},
    ),
    (
        "github:contoso/app:environment:prod",
        "repo:contoso/app:environment:prod",
        "https://token.actions.githubusercontent.com",
        {"environment": "prod", "repository": "contoso/app", "repository_owner": "contoso"},
    ),
    (
        "github:contoso/app:pull_request",
        "repo:contoso/app:pull_request",
        "https://token.actions.githubusercontent.com",
        {"event_name": "pull_request", "ref": "refs/pull/1/merge", "base_ref": "main"},
    ),
    (
        # The immutable form, for repositories that were created since 2026-07-15.
        "github:contoso@123/app@456:ref:refs/heads/main",
        "repo:contoso@123/app@456:ref:refs/heads/main",
        "https://token.actions.githubusercontent.com",
        {"repository": "contoso/app", "repository_id": "456", "repository_owner_id": "123"},
    ),
    (
        # Customized subjects.
        "github:repository_owner_id:123:repository_id:456:environment:prod",
        "repository_owner_id:123:repository_id:456:environment:prod",
        "https://token.actions.githubusercontent.com",
        {"repository_id": "456", "repository_owner_id": "123", "environment": "prod"},
    ),
    (
        "github:contoso/app:environment:prod:job_workflow_ref:contoso/w/.github/workflows/d.yml@refs/heads/main",
        "repo:contoso/app:environment:prod:job_workflow_ref:contoso/w/.github/workflows/d.yml@refs/heads/main",
        "https://token.actions.githubusercontent.com",
        {
            "environment": "prod",
            "job_workflow_ref": "contoso/w/.github/workflows/d.yml@refs/heads/main",
            "workflow_ref": "contoso/app/.github/workflows/deploy.yml@refs/heads/main",
        },
    ),
    (
        "gitlab:group/sub/app:ref_type:branch:ref:main",
        "project_path:group/sub/app:ref_type:branch:ref:main",
        "https://gitlab.com",
        {"project_path": "group/sub/app", "namespace_path": "group/sub", "ref": "main"},
    ),
    (
        "gitlab:57382910:ref_type:tag:ref:v1",
        "project_id:57382910:ref_type:tag:ref:v1",
        "https://gitlab.com",
        {"project_id": "57382910", "ref_path": "refs/tags/v1"},
    ),
    (
        "terraform:contoso/My Project/prod:run_phase:apply",
        "organization:contoso:project:My Project:workspace:prod:run_phase:apply",
        "https://app.terraform.io",
        {"terraform_run_phase": "apply", "terraform_workspace_name": "prod"},
    ),
    ("azure-devops:contoso/My Project/connection", "sc://contoso/My Project/connection", None, {}),
]


@pytest.mark.parametrize(("text", "subject", "issuer", "claims"), JOBS)
def test_job_has_subject_issuer_and_claims_of_its_platform(
    text: str, subject: str, issuer: str | None, claims: dict[str, str]
) -> None:
    job = parse_job(text)
    assert job.subject == subject
    assert claims.items() <= job.claims.items()
    if issuer is None:
        assert re.fullmatch(r"https://vstoken\.dev\.azure\.com/[0-9a-f-]{36}", job.issuer)
    else:
        assert job.issuer == issuer
        assert is_public_issuer(job.issuer)
    assert parse_job(text) == job


def test_every_claim_of_an_expression_is_in_the_tokens() -> None:
    github = {**parse_job(JOBS[4][0]).claims, "sub": JOBS[4][1]}
    expression = (
        "claims['sub'] matches 'repo:contoso@123/*' and claims['repository_id'] eq '456'"
        " and claims['job_workflow_ref'] matches 'contoso/app/.github/workflows/*@refs/heads/main'"
    )
    assert not failing_clauses(expression, github)


@pytest.mark.parametrize(
    "text",
    [
        *("", "github", "jenkins:contoso/app", "github:contoso:ref:refs/heads/main"),
        *("github:contoso/app", "github:contoso/app:ref:main"),
        *("github:contoso@1/app:ref:refs/heads/main", "github:contoso/app:environment:"),
        *("github:con toso/app:pull_request", "gitlab:app:ref_type:commit:ref:x"),
        *("terraform:contoso/project/prod:run_phase:destroy", "azure-devops:contoso/connection"),
    ],
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_job(text)
    assert "for example" in refused.value.hint
