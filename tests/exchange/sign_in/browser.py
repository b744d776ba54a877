"""A test browser for the sign-in pages: it stores cookies, parses forms and submits them."""

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from tests.exchange.world import World

AZ = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
LOOPBACK = "http://localhost:8400"


@dataclass(kw_only=True)
class Page:
    """A page in the browser."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def action(self) -> str:
        found = re.search(r'<form method="post" action="([^"]*)"', self.text)
        return html.unescape(found[1]) if found else ""

    @property
    def fields(self) -> dict[str, str]:
        """Return the hidden fields of the page's form."""
        found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', self.text)
        return {html.unescape(name): html.unescape(value) for name, value in found}

    @property
    def error(self) -> str:
        found = re.search(r'role="alert">(.*?)</p>', self.text)
        return html.unescape(found[1]) if found else ""

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def response(self) -> dict[str, str]:
        """Return the parameters of the redirect, in query or fragment."""
        parts = urlsplit(self.location)
        return {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}


class Browser:
    """One browser, with its cookies."""

    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self._world = world
        self._session = session

    async def get(self, path: str, **query: str | None) -> Page:
        kept = {name: value for name, value in query.items() if value is not None}
        text = f"?{urlencode(kept)}" if kept else ""
        return await self._send("GET", path + text)

    async def post(
        self, path: str, fields: Mapping[str, str] | bytes, headers: Mapping[str, str] | None = None
    ) -> Page:
        return await self._send("POST", path, data=fields, headers=headers)

    async def submit(self, page: Page, **fields: str) -> Page:
        return await self.post(page.action, {**page.fields, **fields})

    async def sign_in(self, page: Page, **fields: str) -> Page:
        """Fill in the sign-in form of a page."""
        filled = {
            "username": self._world.ADMIN,
            "password": self._world.PASSWORD,
            "step": "sign-in",
        }
        return await self.submit(page, **{**filled, **fields})

    async def authorize(self, tenant: str | None = None, **changes: str | None) -> Page:
        """Open the sign-in page with the parameters of Azure CLI and some changes."""
        query: dict[str, str | None] = {
            "client_id": AZ,
            "response_type": "code",
            "redirect_uri": LOOPBACK,
            "scope": "https://management.core.windows.net//.default offline_access openid profile",
            "state": "the-state",
            **changes,
        }
        return await self.get(f"/{tenant or 'organizations'}/oauth2/v2.0/authorize", **query)

    async def _send(self, method: str, path: str, **how: Any) -> Page:
        url = self._world.url + path
        async with self._session.request(method, url, allow_redirects=False, **how) as answer:
            return Page(status=answer.status, text=await answer.text(), headers=answer.headers)


@asynccontextmanager
async def browsing(world: World) -> AsyncIterator[Browser]:
    """Open a browser that trusts the CA of the test service."""
    # The browser needs its own session, so that tests do not share cookies.
    jar = aiohttp.CookieJar()
    connector = world.session.connector
    async with aiohttp.ClientSession(
        connector=connector, connector_owner=False, cookie_jar=jar
    ) as session:
        yield Browser(world, session)
