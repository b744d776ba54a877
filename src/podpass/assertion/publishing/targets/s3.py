"""A bucket of S3 or of a store with its API."""

import io
from typing import Any
from urllib.parse import urlsplit

from podpass.assertion.publishing.documents import CONTENT_TYPE, MAX_DOCUMENT_BYTES
from podpass.assertion.publishing.targets.target import CACHE_CONTROL, TIMEOUT_SECONDS, TargetError

_DEFAULT_ENDPOINT = "https://s3.amazonaws.com"


class S3Target:
    """Objects of a bucket; the credentials are those of AWS' variables, files or instance profile."""

    def __init__(self, place: str, endpoint: str = "") -> None:
        self._bucket, _, prefix = place.partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = _open_client(endpoint or _DEFAULT_ENDPOINT)

    @property
    def name(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def read(self, path: str) -> bytes | None:
        """Return an object; None if it does not exist. Raises TargetError."""
        from minio.error import S3Error

        answer = None
        try:
            answer = self._client.get_object(self._bucket, self._prefix + path)
            body: bytes = answer.read(MAX_DOCUMENT_BYTES + 1)
        except S3Error as exc:
            if exc.code == "NoSuchKey":
                return None
            raise self._failed("read", path, exc.code or "S3Error") from exc
        except Exception as exc:
            raise self._failed("read", path, type(exc).__name__) from exc
        finally:
            if answer is not None:
                answer.close()
                answer.release_conn()
        if len(body) > MAX_DOCUMENT_BYTES:
            raise self._failed("read", path, f"larger than {MAX_DOCUMENT_BYTES} bytes")
        return body

    def write(self, path: str, body: bytes) -> float | None:
        """Replace an object; return the time of the store.

        Raises TargetError; the old object is then unchanged.
        """
        from minio.error import S3Error

        try:
            self._client.put_object(
                self._bucket,
                self._prefix + path,
                io.BytesIO(body),
                len(body),
                content_type=CONTENT_TYPE,
                metadata={"Cache-Control": CACHE_CONTROL},
            )
            written = self._client.stat_object(self._bucket, self._prefix + path).last_modified
        except S3Error as exc:
            raise self._failed("write", path, exc.code or "S3Error") from exc
        except Exception as exc:
            raise self._failed("write", path, type(exc).__name__) from exc
        return None if written is None else float(written.timestamp())

    def _failed(self, what: str, path: str, reason: str) -> TargetError:
        return TargetError(
            f"cannot {what} {path} in {self.name}: {reason}",
            hint="check the bucket, s3_endpoint and the credentials in the environment",
        )


def _open_client(endpoint: str) -> Any:
    try:
        import urllib3
        from minio import Minio
        from minio.credentials.providers import (
            AWSConfigProvider,
            ChainedProvider,
            EnvAWSProvider,
            IamAwsProvider,
        )
    except ImportError as exc:
        raise TargetError(
            "the S3 SDK is not installed", hint="install it: pip install 'podpass[issuer]'"
        ) from exc
    parts = urlsplit(endpoint)
    is_local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if not parts.netloc or not (parts.scheme == "https" or is_local):
        raise TargetError(
            f"{endpoint!r} is not the https URL of a store", hint="correct s3_endpoint"
        )
    http = urllib3.PoolManager(
        timeout=urllib3.Timeout(TIMEOUT_SECONDS),
        retries=urllib3.Retry(total=2, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504]),
    )
    providers = [EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()]
    return Minio(
        endpoint=parts.netloc,
        credentials=ChainedProvider(providers),
        secure=not is_local,
        http_client=http,
    )
