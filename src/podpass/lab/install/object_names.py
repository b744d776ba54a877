"""The names of an installation that commands need without building its objects."""

NAME = "podpass-cloud"
NAMESPACE = "podpass-cloud"
SELECTOR = {"app.kubernetes.io/name": NAME}
PORT = 8443
# The state of the pod in the status of a namespace without an installation.
NOT_INSTALLED = "not installed"
