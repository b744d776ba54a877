"""The client of the Kubernetes API, label selectors, and the names of objects and ServiceAccounts."""
