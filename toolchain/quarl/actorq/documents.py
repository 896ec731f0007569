"""What a run writes as JSON, and how it is read again."""

from __future__ import annotations

from quarl.actorq.accounts import PHASES, Account
from quarl.files.documents import Document, value_of

DOCUMENT = Document("what a run of quarl actorq writes", 1, "start the run again")


def account_from(table: object, where: str) -> Account:
    """Return the account that `Account.to_table` wrote.

    Raises:
        InputError: it did not.
    """
    plain = dict(table) if isinstance(table, dict) else {}
    phases = plain.get("phases_s")
    spent = phases if isinstance(phases, dict) else {}
    plain["phases_s"] = [spent.get(name) for name in PHASES]
    return value_of(Account, plain, where, DOCUMENT)
