"""Pipelines of GitHub, GitLab, HCP Terraform and Azure DevOps, as issuers of tokens, without their services.

`platforms` has the claims and subjects of each platform; `issuer` signs them and serves the two protocols by
which a running job asks for a token.
"""
