"""Microsoft Graph, as far as workload identities need it: applications, principals, credentials, roles.

In: requests of `az`, Terraform and the Graph SDKs. Out: changes and views of the directory.
"""
