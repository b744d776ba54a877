"""Stage 4: tenants, identities, federated credentials, vaults and role assignments.

Seed files and the management APIs write the directory. The stages `exchange` and `resource` read it.
"""
