"""What the queue of a consumer is bound to: a list in the database, for the broker does not tell.

What nobody has wished for in a day is unbound; not at once, for two versions of the code may run at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor_kit.db import Statement, Transaction
from kontor_kit.tables import KEY_TEXT

_KEPT: Final = "1 day"


class Bindings:
    """The routing keys that one service wishes for."""

    def __init__(self, metadata: sa.MetaData, wanted: Sequence[str]) -> None:
        self.wanted = wanted
        table = metadata.tables["inbox_bindings"]
        key = sa.bindparam("key", type_=KEY_TEXT)
        now = sa.func.now()
        self._wish = Statement(
            insert(table)
            .values(routing_key=key, wish_time=now)
            .on_conflict_do_update(index_elements=["routing_key"], set_={"wish_time": now})
        )
        self._forget = Statement(
            table.delete().where(table.c.wish_time < now - sa.cast(_KEPT, sa.Interval)).returning(table.c.routing_key)
        )

    def wish(self, tx: Transaction) -> None:
        """Note that these are wished for."""
        for key in self.wanted:
            tx.defer(self._wish, {"key": key})

    def forget(self, tx: Transaction) -> list[str]:
        """Return those that nobody wishes for any more, once."""
        return [row[0] for row in tx.run(self._forget)]
