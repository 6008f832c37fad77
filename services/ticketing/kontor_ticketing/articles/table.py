"""The resource and the tables of articles: themselves, who said that they helped, and the words of their whole text."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR

from kontor.ticketing.v1 import article_pb2
from kontor_kit.principals import Principal, Scope
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.scopes import granted
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_ticketing.articles.rules import DRAFT, PUBLIC, PUBLISHED
from kontor_ticketing.tables import metadata

WRITE: Final = "ticketing.articles.update"
"""The permission of those who see drafts."""

articles = resource_table(
    "articles",
    metadata,
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("title_key", KEY_TEXT, nullable=False),
    sa.Column("summary", sa.Text),
    sa.Column("body", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("visibility", sa.SmallInteger, nullable=False),
    sa.Column("category", KEY_TEXT),
    sa.Column("language_code", KEY_TEXT),
    array_column("keywords", sa.Text),
    array_column("products", sa.Uuid),
    sa.Column("publish_time", sa.DateTime(timezone=True)),
    sa.Column("helpful_count", sa.Integer, nullable=False),
    sa.Column("unhelpful_count", sa.Integer, nullable=False),
    json_column("external_ids"),
    sa.Column("search_text", sa.Text, nullable=False),
    index("articles", "title_key"),
    index("articles", "state"),
    index("articles", "visibility"),
    index("articles", "category"),
    index("articles", "language_code"),
    index("articles", "publish_time"),
    index("articles", "helpful_count"),
    index("articles", "create_time"),
    index("articles", "update_time"),
    search_index("articles"),
    owned=False,
)

article_votes = sa.Table(
    "article_votes",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("article", sa.Uuid, primary_key=True),
    sa.Column("voter", sa.Uuid, primary_key=True),
    sa.Column("helpful", sa.Boolean, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "article"], ["articles.tenant_id", "articles.id"], name="article_votes_article_fkey"
    ),
)

article_words = sa.Table(
    "article_words",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("article", sa.Uuid, primary_key=True),
    sa.Column("words", TSVECTOR, nullable=False),
    sa.ForeignKeyConstraint(
        ["tenant_id", "article"], ["articles.tenant_id", "articles.id"], name="article_words_article_fkey"
    ),
    sa.Index("article_words_words", "tenant_id", "words", postgresql_using="gin"),
)


class ReaderScope:
    """Articles belong to the tenant as a whole, and a scope says what kind of reader somebody is.

    `own` are customers, who see what is published for them, others the company's own people, who see no drafts. Who may
    change articles sees all of them.
    """

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Compare `state` and `visibility`."""
        seen = table.c.state != DRAFT
        if scope is Scope.OWN:
            seen = sa.and_(table.c.state == PUBLISHED, table.c.visibility == PUBLIC)
        return sa.or_(seen, *(granted(WRITE, given) for given in Scope))

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Allow everything: who may write may write any."""


ARTICLE = Resource(
    article_pb2.Article,
    articles,
    scope=ReaderScope(),
    events=(*STANDARD_EVENTS, "published", "archived", "voted"),
)
