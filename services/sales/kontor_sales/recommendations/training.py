"""Association rules of baskets, with mlxtend; whoever only serves does not import it, for it is large."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import pandas as pd
from mlxtend.frequent_patterns import association_rules, fpgrowth
from mlxtend.preprocessing import TransactionEncoder

from kontor_sales.recommendations.rules import Rule

LONGEST: Final = 3
"""So many products at most are in a rule, the one that it recommends included."""
MOST_RULES: Final = 10_000


def mine(baskets: Collection[Collection[Any]], min_support: float, min_confidence: float) -> list[Rule]:
    """Return the rules with one consequent and a lift above 1 that baskets of products give, the surest first."""
    encoder = TransactionEncoder()
    table = encoder.fit_transform([list(basket) for basket in baskets], sparse=True)
    # Sparse tables are taken with names that are text.
    products = {f"p{place}": product for place, product in enumerate(encoder.columns_)}
    frame = pd.DataFrame.sparse.from_spmatrix(table, columns=list(products))
    frequent = fpgrowth(frame, min_support=min_support, use_colnames=True, max_len=LONGEST)
    if frequent.empty:
        return []
    found = association_rules(
        frequent,
        num_itemsets=len(baskets),
        metric="confidence",
        min_threshold=min_confidence,
        return_metrics=["support", "confidence", "lift"],
    )
    rules = [
        Rule(
            tuple(sorted(products[name] for name in row.antecedents)),
            products[next(iter(row.consequents))],
            row.support,
            row.confidence,
            row.lift,
        )
        for row in found.itertuples()
        if len(row.consequents) == 1 and row.lift > 1
    ]
    return sorted(rules, key=lambda rule: (-rule.confidence, -rule.lift, str(rule)))[:MOST_RULES]
