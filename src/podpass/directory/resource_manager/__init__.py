"""Azure Resource Manager (management.azure.com): resource groups, identities, roles, vaults, one cluster.

`app.py` handles a request; `routes.py` lists the served paths.
"""
