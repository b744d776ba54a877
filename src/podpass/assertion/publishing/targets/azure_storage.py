"""A container of an Azure Storage account, such as `$web` of a static website."""

from collections.abc import Mapping
from typing import Any

from podpass.assertion.publishing.documents import CONTENT_TYPE, MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.targets.target import CACHE_CONTROL, TIMEOUT_SECONDS, TargetError

_KEY_VARIABLE = "AZURE_STORAGE_KEY"


class AzureStorageTarget:
    """Blobs of a container; signs in as azure-identity finds, or with AZURE_STORAGE_KEY."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self._url = url
        self._container = _open_container(url, environ)

    @property
    def name(self) -> str:
        return self._url

    def read(self, path: str) -> bytes | None:
        """Return a blob; None if it does not exist. Raises TargetError."""
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            found = self._container.download_blob(path, timeout=TIMEOUT_SECONDS, length=None)
            if found.size > MAX_DOCUMENT_BYTES:
                raise TargetError(
                    f"{path} in {self._url} is larger than {MAX_DOCUMENT_BYTES} bytes",
                    hint="check the container",
                )
            body: bytes = found.readall()
        except ResourceNotFoundError as exc:
            if _error_code(exc) == "BlobNotFound":
                return None
            raise self._failed("read", path, exc) from exc
        except AzureError as exc:
            raise self._failed("read", path, exc) from exc
        return body

    def write(self, path: str, body: bytes) -> float | None:
        """Replace a blob; return the time of Azure Storage.

        Raises TargetError; the old blob is then unchanged.
        """
        from azure.core.exceptions import AzureError
        from azure.storage.blob import ContentSettings

        settings = ContentSettings(content_type=CONTENT_TYPE, cache_control=CACHE_CONTROL)
        try:
            blob = self._container.get_blob_client(path)
            answer = blob.upload_blob(
                body, overwrite=True, content_settings=settings, timeout=TIMEOUT_SECONDS
            )
        except AzureError as exc:
            raise self._failed("write", path, exc) from exc
        date = answer.get("date")
        return None if date is None else float(date.timestamp())

    def _failed(self, what: str, path: str, exc: Exception) -> TargetError:
        code = _error_code(exc) or type(exc).__name__
        return TargetError(
            f"cannot {what} {path} in {self._url}: {code}",
            hint="check the container, and that you have the role Storage Blob Data Contributor",
        )


def _error_code(exc: Exception) -> str:
    code = getattr(exc, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _open_container(url: str, environ: Mapping[str, str]) -> Any:
    try:
        from azure.identity import DefaultAzureCredential
        from azure.storage.blob import ContainerClient
    except ImportError as exc:
        raise TargetError(
            "the Azure SDK is not installed", hint="install it: pip install 'podpass[issuer]'"
        ) from exc
    credential = environ.get(_KEY_VARIABLE) or DefaultAzureCredential()
    try:
        return ContainerClient.from_container_url(url, credential=credential, retry_total=3)
    except ValueError as exc:
        raise TargetError(
            f"{url} is not the URL of a container",
            hint="write azure:https://ACCOUNT.blob.core.windows.net/$web",
        ) from exc
