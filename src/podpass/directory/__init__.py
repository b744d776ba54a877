"""Stage 4: tenants, identities, the federated credentials that trust an issuer, role assignments.

In: seed files and management calls. Out: answers for `exchange` and `resource`, which may read it.
"""
