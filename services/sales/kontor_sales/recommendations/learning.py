"""The operation that learns what is bought together: reads what was won, and replaces what was learned before."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.sales.v1 import recommendation_service_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.operations.work import Kind, Work
from kontor_kit.tables import KEY_TEXT
from kontor_sales.recommendations import rules
from kontor_sales.recommendations.table import account_baskets, product_rules

_TENANT = sa.bindparam("tenant", type_=sa.Uuid)
_BOUGHT_LINES: Final = (
    " FROM opportunities o CROSS JOIN LATERAL jsonb_array_elements(o.lines) l"
    " WHERE o.tenant_id = :tenant AND o.state = 2 AND o.delete_time IS NULL AND o.account IS NOT NULL"
    " AND l ->> 'product' LIKE 'products/%'"
)
BOUGHT: Final = Statement(
    sa.text(
        "SELECT DISTINCT o.account, CAST(substr(l ->> 'product', 10) AS uuid) AS product" + _BOUGHT_LINES
    ).bindparams(_TENANT)
)
"""(account, product) of everything that was won."""
_COUNT: Final = Statement(sa.text("SELECT count(DISTINCT o.account)" + _BOUGHT_LINES).bindparams(_TENANT))
_FORGET: Final = tuple(
    Statement(table.delete().where(table.c.tenant_id == _TENANT)) for table in (product_rules, account_baskets)
)


def _keep_rules() -> Statement:
    kinds: dict[str, Any] = {
        "first": sa.Uuid,
        "antecedents": KEY_TEXT,
        "consequent": sa.Uuid,
        "support": sa.Float,
        "confidence": sa.Float,
        "lift": sa.Float,
    }
    given = (
        sa.func.unnest(*(sa.bindparam(name, type_=ARRAY(kind)) for name, kind in kinds.items()))
        .table_valued(*(sa.column(name, kind) for name, kind in kinds.items()))
        .render_derived(name="given")
    )
    # Arrays of arrays must be rectangles: the antecedents come as text.
    columns: dict[str, sa.ColumnElement[Any]] = {name: given.c[name] for name in kinds}
    columns["antecedents"] = sa.cast(given.c.antecedents, ARRAY(sa.Uuid))
    rows = sa.select(_TENANT, *columns.values())
    return Statement(product_rules.insert().from_select(["tenant_id", *columns], rows))


def _keep_baskets() -> Statement:
    names = ("account", "product")
    given = (
        sa.func.unnest(*(sa.bindparam(name, type_=ARRAY(sa.Uuid)) for name in names))
        .table_valued(*(sa.column(name, sa.Uuid) for name in names))
        .render_derived(name="given")
    )
    rows = sa.select(_TENANT, given.c.account, given.c.product)
    return Statement(account_baskets.insert().from_select(["tenant_id", *names], rows))


_KEEP_RULES: Final = _keep_rules()
_KEEP_BASKETS: Final = _keep_baskets()


def check(tx: Transaction, request: Any) -> None:
    """Raise InvalidArgument where what is asked for makes no sense, FailedPrecondition where too little was sold."""
    _parts(request)
    [(count,)] = tx.run(_COUNT, {"tenant": tx.tenant_id})
    _refuse(count)


def _parts(request: Any) -> tuple[Decimal, Decimal]:
    support, violations = rules.check_part(request.min_support, "min_support", rules.SUPPORT)
    confidence, others = rules.check_part(request.min_confidence, "min_confidence", rules.CONFIDENCE)
    if violations or others:
        raise InvalidArgument(*violations, *others)
    return support, confidence


def _refuse(count: int) -> None:
    if count < rules.LEAST_BASKETS:
        raise FailedPrecondition(
            f"{rules.LEAST_BASKETS} customers are needed who bought a product; there are {count}",
            reason="TOO_FEW_BASKETS",
            metadata={"needed": str(rules.LEAST_BASKETS), "found": str(count)},
        )


def _learn(work: Work) -> Any:
    from kontor_sales.recommendations import training  # noqa: PLC0415  # large, and needed nowhere else

    support, confidence = _parts(work.request)
    with work.write() as tx:
        bought = tx.run(BOUGHT, {"tenant": work.tenant_id})
    baskets = rules.baskets_of((account, product) for account, product in bought)
    _refuse(len(baskets))
    found = training.mine(list(baskets.values()), float(support), float(confidence))
    with work.write() as tx:
        for statement in _FORGET:
            tx.defer(statement, {"tenant": work.tenant_id})
        accounts, products = zip(*bought, strict=True)
        tx.defer(_KEEP_BASKETS, {"tenant": work.tenant_id, "account": list(accounts), "product": list(products)})
        columns = {name: [getattr(rule, name) for rule in found] for name in rules.Rule._fields}
        columns["first"] = [rule.antecedents[0] for rule in found]
        columns["antecedents"] = [f"{{{','.join(map(str, rule.antecedents))}}}" for rule in found]
        tx.defer(_KEEP_RULES, {"tenant": work.tenant_id, **columns})
        work.save(tx, {"kept": True}, done=len(baskets), total=len(baskets))
    return recommendation_service_pb2.TrainRecommendationsResponse(basket_count=len(baskets), rule_count=len(found))


TRAIN: Final = Kind("train_recommendations", recommendation_service_pb2.TrainRecommendationsRequest, _learn)
"""Learns what a tenant's customers buy together."""
