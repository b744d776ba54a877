"""Errors of requests to Microsoft Graph and Resource Manager, and of sign-ins."""

import re

from podpass.errors import Error

_JWT = re.compile(r"eyJ[\w-]+\.[\w.-]*")
_MAX_CHARS = 500


class ApiError(Error):
    """An API refused a request, or did not respond.

    `api_status` is the status of the response, 0 if there is none; `api_code` is the code of the API's error,
    such as Authorization_RequestDenied, or empty.
    """

    code = "azure_api"

    def __init__(self, message: str, *, api_status: int = 0, api_code: str = "") -> None:
        hint = None if api_status else "check the network, HTTPS_PROXY and --azure-env"
        super().__init__(message, hint=hint, api_status=api_status, api_code=api_code)
        self.api_status = api_status
        self.api_code = api_code


class SignInFailed(Error):
    """No access token could be acquired."""

    code = "sign_in_failed"
    hint = "check --auth-method and its options; `az account show` prints the account that is signed in"


def sanitize(text: object) -> str:
    """Return the text of another system for a message: printable, shortened, without tokens."""
    line = " ".join(str(text).encode("utf-8", "replace").decode().split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return _JWT.sub("[token]", line)[:_MAX_CHARS]
