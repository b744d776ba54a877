"""The tokens of a user's sign-in: access token, and id token and refresh token where they were asked for."""

import os

import orjson

from podpass import jose
from podpass.clock import Clock
from podpass.exchange import refresh, user_grant
from podpass.exchange.grant import header
from podpass.exchange.keys import AuthorityKeys
from podpass.exchange.proof import Acr, Facts
from podpass.exchange.signer import Signer
from podpass.exchange.user_grant import UserExchange
from podpass.exchange.wire import TokenRequest
from podpass.settings import AuthoritySettings


class UserTokens:
    """Make a success's body."""

    def __init__(
        self, keys: AuthorityKeys, signer: Signer, settings: AuthoritySettings, clock: Clock
    ) -> None:
        self._keys = keys
        self._signer = signer
        self._settings = settings
        self._clock = clock

    async def grant(self, exchange: UserExchange, request: TokenRequest, facts: Facts) -> bytes:
        """Sign the tokens a client asked for, and write them as JSON."""
        now, seconds = self._clock(), self._settings.user_token_seconds
        facts["uti"] = uti = jose.b64encode(os.urandom(16))
        claims = user_grant.access_claims(
            exchange,
            now=now,
            seconds=seconds,
            uti=uti,
            administers=exchange.user.id in self._settings.administrators,
        )
        key = await self._keys.current()
        tokens = {"access_token": await self._signer.sign(key, claims, header(claims, key.kid))}
        if "offline_access" in exchange.asked.wanted:
            tokens["refresh_token"] = refresh.mint(
                self._keys.seal,
                exchange.user,
                exchange.client.id,
                clock=self._clock,
                authenticated=exchange.authenticated,
                proved=exchange.proof.acr != Acr.NOTHING,
            )
        if "openid" in exchange.asked.wanted:
            said = user_grant.id_claims(exchange, now=now, seconds=seconds, uti=uti)
            tokens["id_token"] = await self._signer.sign(key, said, {"typ": "JWT"})
        info = bool(request.get("client_info"))
        return orjson.dumps(
            user_grant.answer(exchange, tokens, now=now, seconds=seconds, info=info)
        )
