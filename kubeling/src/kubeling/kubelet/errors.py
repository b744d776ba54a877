"""The error of a request to the kubelet."""

from kubeling.errors import Error


class KubeletError(Error):
    """A request that is refused, with the HTTP status of the response."""

    code = "kubelet_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
