"""Microsoft Entra Workload ID, the whole loop: a pod's projected token in, an Azure token out.

The stages in the order in which a token passes them: account, admission, assertion, directory, exchange,
resource. The other folders are a Kubernetes client, servers, the local instance, commands and libraries.
`docs/journey.md` shows the path of one token.
"""

__version__ = "0.1.0"
