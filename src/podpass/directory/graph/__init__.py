"""Microsoft Graph for workload identities: applications, service principals, credentials, app roles.

Clients are `az`, Terraform and the Graph SDKs. `routes.py` lists the served paths; `permissions.py` holds the
authorization rules.
"""
