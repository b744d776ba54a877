"""Sessions of administrators for the console, sealed, so that every replica accepts what another has opened.

The cookie contains the approval of the user: a changed password, a deleted user and a removed role
end the session at every replica. The database stores only which sessions were ended by a sign-out.
"""

from collections.abc import Collection

from podpass.clock import Clock
from podpass.database import Database
from podpass.directory.model import Tenant
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in.codes import SKEW_SECONDS, Approval
from podpass.exchange.sign_in.used_forms import SESSION_SECONDS, UsedForms, create_id
from podpass.exchange.sign_in.users import UserAuthenticator
from podpass.exchange.signing.token_sealer import BrokenSeal, TokenSealer

_PURPOSE = "console-session"


class ConsoleSessions:
    """Opens, checks and ends the sessions of administrators.

    `administrators` are the object IDs of users.
    """

    def __init__(
        self,
        users: UserAuthenticator,
        database: Database,
        seal: TokenSealer,
        administrators: Collection[str],
        clock: Clock,
    ) -> None:
        self._users, self._seal, self._clock = users, seal, clock
        self._administrators = administrators
        self._ended = UsedForms(database, seal, clock)

    async def open(self, tenant: Tenant, name: str, password: str) -> str | None:
        """Check the password of an administrator; return a session, or None for another user.

        Raises AadstsError 50034, 50053, 50126; DatabaseFailed.
        """
        approval = await self._users.authenticate(tenant, name, password)
        if approval.user_id not in self._administrators:
            return None
        return self._seal.seal(
            _PURPOSE,
            {
                "id": create_id(),
                "tenant": approval.tenant_id,
                "user": approval.user_id,
                "password": approval.password,
                "opened": approval.authenticated,
            },
        )

    async def is_valid(self, session: str) -> bool:
        """Return whether a session is open, and its user still an administrator with the same password.

        Raises DatabaseFailed.
        """
        found = self._read(session)
        if found is None:
            return False
        session_id, approval = found
        if approval.user_id not in self._administrators or await self._ended.has_ended(session_id):
            return False
        try:
            await self._users.find_user(approval)
        except AadstsError:
            return False
        return True

    async def end(self, session: str) -> None:
        """End a session for all replicas. Raises DatabaseFailed."""
        # A row for each invented text would let callers fill the table.
        if (found := self._read(session)) is not None:
            await self._ended.end_session(found[0])

    def _read(self, session: str) -> tuple[str, Approval] | None:
        """Return the ID and the approval of a session that has not expired, or None."""
        try:
            values = self._seal.open(_PURPOSE, session)
        except BrokenSeal:
            return None
        # The clock of the replica that opened the session may be faster.
        if not -SKEW_SECONDS <= self._clock() - values["opened"] < SESSION_SECONDS:
            return None
        return values["id"], Approval(
            tenant_id=values["tenant"],
            user_id=values["user"],
            password=values["password"],
            authenticated=values["opened"],
        )
