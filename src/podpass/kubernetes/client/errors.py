"""What can go wrong between a client and the API server."""

from podpass.errors import Error


class KubeError(Error):
    """The API server refused a request; `status`, `reason` and `message` are those of its Status."""

    code = "kubernetes"

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, kubernetes_status=status, reason=reason)
        self.status = status
        self.reason = reason


class KubeUnreachable(KubeError):
    """No answer came from the API server."""

    code = "kubernetes_unreachable"
    hint = "check that the API server runs, that the kubeconfig names its address, and this machine's clock"

    def __init__(self, server: str, cause: str) -> None:
        super().__init__(503, "Unreachable", f"no answer from {server}: {cause}")


class BadKubeconfig(Error):
    """A kubeconfig cannot be read, or asks for what this client does not do."""

    code = "bad_kubeconfig"
    hint = "name a server, its certificate authority, and a token or a client certificate"
