"""Azure Resource Manager, as management.azure.com: groups, identities, roles, vaults, the one cluster.

Read `app.py` for how a request is answered, `routes.py` for what is served.
"""
