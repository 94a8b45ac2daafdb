"""Who asks: an owner, by one of its keys."""

from __future__ import annotations

from dataclasses import dataclass

from inferprint.service.problems import Forbidden

SCOPES = ("read", "write", "admin")
"""What a key may do: ask and look; report usage and keep records of one's own; keep records for all, and see all."""

GLOBAL_OWNER = 0
"""Owner of the records that everybody sees: the packaged ones and those of administrators."""

LOCAL_OWNER = 1
"""Owner of what is reported while there is no key."""

GLOBAL_NAME, LOCAL_NAME = "inferprint", "local"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from.

    Attributes
    ----------
    owner_id, owner
        Whom usage and records belong to.
    key_id
        Public part of the key; "local" where there are no keys.
    scopes
        Of `SCOPES`; "admin" holds the others, "write" holds "read".
    """

    owner_id: int
    owner: str
    key_id: str
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether the caller keeps the records that all see."""
        return "admin" in self.scopes

    def may(self, scope: str) -> bool:
        """Whether the key has a scope, or one that holds it."""
        return any(held in self.scopes for held in SCOPES[SCOPES.index(scope) :])

    def require(self, scope: str, why: str = "") -> None:
        """Refuse a caller without a scope.

        Raises
        ------
        Forbidden
            Naming the scope, and why it is needed.
        """
        if not self.may(scope):
            because = f": {why}" if why else ""
            reason = f"Use a key with the scope '{scope}'; `inferprint keys create` makes one."
            raise Forbidden(f"this key may not {scope}{because}", reason=reason)


LOCAL_CALLER = Caller(LOCAL_OWNER, LOCAL_NAME, "local", frozenset(SCOPES))
"""Who asks a server without keys, which answers on loopback only."""
