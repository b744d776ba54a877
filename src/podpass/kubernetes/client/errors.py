"""Errors of requests to the API server."""

from pathlib import Path

from podpass.errors import Error

_HINTS = {
    401: "check the credential with `kubectl auth whoami`, and the context with"
    " `kubectl config current-context`",
    403: "ask an administrator of the cluster for this right, or use another context",
}


class KubeError(Error):
    """The API server refused a request; `status`, `reason` and `message` are those of its Status."""

    code = "kubernetes"

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, kubernetes_status=status, reason=reason)
        self.status = status
        self.hint = _HINTS.get(status, "")
        self.reason = reason


class KubeUnreachable(KubeError):
    """The API server did not respond."""

    code = "kubernetes_unreachable"

    def __init__(self, server: str, cause: str, kubeconfig: Path | None = None) -> None:
        super().__init__(503, "Unreachable", f"no answer from {server}: {cause}")
        source = "the kubeconfig" if kubeconfig is None else str(kubeconfig)
        self.hint = (
            f"check that the API server runs, {source} has its address, and the clock is correct"
        )


class BadKubeconfig(Error):
    """A kubeconfig cannot be read, or uses a feature that this client does not support."""

    code = "bad_kubeconfig"
    exit_code = 2
    hint = "set a server, its certificate-authority, and a token, a client certificate or a plugin (exec)"


class EntryNotFound(BadKubeconfig):
    """The file does not exist, or has no context, cluster or user of the requested name."""
