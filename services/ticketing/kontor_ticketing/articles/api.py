"""The gRPC service of articles."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from kontor.ticketing.v1 import article_service_pb2
from kontor_kit import masks, pages
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.folding import fold
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import principal_of
from kontor_kit.store import Locked, Reach
from kontor_ticketing.articles import rules
from kontor_ticketing.articles.table import ARTICLE, WRITE, article_votes

_ARTICLE: Final = sa.bindparam("article", type_=sa.Uuid)
_vote = insert(article_votes).values(
    tenant_id=TENANT,
    article=_ARTICLE,
    voter=sa.bindparam("voter", type_=sa.Uuid),
    helpful=sa.bindparam("helpful", type_=sa.Boolean),
)
_VOTE: Final = Statement(
    _vote.on_conflict_do_update(
        index_elements=["tenant_id", "article", "voter"], set_={"helpful": _vote.excluded.helpful}
    )
)
_VOTES: Final = Statement(
    sa.select(sa.func.count().filter(article_votes.c.helpful), sa.func.count().filter(~article_votes.c.helpful)).where(
        article_votes.c.tenant_id == TENANT, article_votes.c.article == _ARTICLE
    )
)
_KEEP_WORDS: Final = Statement(
    sa.text(
        "INSERT INTO article_words (tenant_id, article, words) VALUES (:tenant, :article,"
        " setweight(to_tsvector(CAST(:configuration AS regconfig), :title), 'A')"
        " || setweight(to_tsvector(CAST(:configuration AS regconfig), :summary), 'B')"
        " || setweight(to_tsvector(CAST(:configuration AS regconfig), :body), 'C'))"
        " ON CONFLICT (tenant_id, article) DO UPDATE SET words = excluded.words"
    ).bindparams(
        TENANT, _ARTICLE, *(sa.bindparam(name, type_=sa.Text) for name in ("configuration", "title", "summary", "body"))
    )
)
_SUGGEST: Final = Statement(
    sa.select(sa.column("id", sa.Uuid), sa.column("score", sa.Float)).select_from(
        sa.func.suggest_articles(
            sa.bindparam("query", type_=sa.Text),
            sa.bindparam("public_only", type_=sa.Boolean),
            sa.bindparam("size", type_=sa.Integer),
        ).table_valued("id", "score")
    )
)


class Articles(ResourceServicer):
    """Serves articles."""

    SERVICE = article_service_pb2.DESCRIPTOR.services_by_name["ArticleService"]
    RESOURCE = ARTICLE

    # Who sees what.

    def read_scope(self, principal: Principal) -> Scope | None:
        """Return what kind of reader somebody is; all is for those who change articles, so that a search knows them."""
        scope = super().read_scope(principal)
        if scope is None or principal.scope(WRITE) is not None:
            return scope and Scope.ALL
        return min(scope, Scope.TEAM)

    def scope(self, call: Call, permission: str = "") -> Scope:
        """Let those who may do something with articles do it with any that they see."""
        super().scope(call, permission)
        return Scope.ALL

    def reach(self, call: Call) -> Reach:
        """Let those who may not read, but vote for example, see what they would if their right to read reached as far."""
        principal = principal_of(call)
        return Reach(principal, self.read_scope(principal) or super().scope(call))

    # What is stored.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the article into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new article, and the words that it is suggested by."""
        article = super().new(tx, call, record, *args, **options)
        self._keep_words(tx, article)
        return article

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed article, and its words where they changed."""
        before = locked.message
        article = super().put(tx, call, locked, after, event)
        if (rules.texts(before), before.language_code) != (rules.texts(after), after.language_code):
            self._keep_words(tx, article)
        return article

    def _keep_words(self, tx: Transaction, article: Any) -> None:
        title, summary, body = rules.texts(article)
        values = {"title": title, "summary": summary, "body": body}
        id = parse_name(article.name, self.RESOURCE.pattern, "name")
        configuration = rules.configuration(article.language_code)
        tx.defer(_KEEP_WORDS, {"tenant": tx.tenant_id, "article": id, "configuration": configuration, **values})

    # Its way.

    def publish_article(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Put an article into use."""
        locked, after = self._begin(request, call, tx)
        if after.state == rules.PUBLISHED:
            raise FailedPrecondition("the article is published already", reason="ARTICLE_PUBLISHED")
        after.state = rules.PUBLISHED
        if not after.HasField("publish_time"):
            after.publish_time.FromDatetime(dt.datetime.now(dt.UTC))
        return self.shown(tx, call, self.save(tx, call, locked, after, "published"))

    def archive_article(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Take an article out of use."""
        locked, after = self._begin(request, call, tx)
        if after.state != rules.PUBLISHED:
            raise FailedPrecondition("the article is not published", reason="ARTICLE_NOT_PUBLISHED")
        after.state = rules.ARCHIVED
        return self.shown(tx, call, self.save(tx, call, locked, after, "archived"))

    def _begin(self, request: Any, call: Call, tx: Transaction) -> tuple[Locked, Any]:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        return locked, after

    def vote_article(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Count what a reader says, one vote each; the lock on the article makes the numbers right."""
        locked = self.lock(tx, call, request.name)
        if locked.message.state != rules.PUBLISHED:
            raise FailedPrecondition("the article is not published", reason="ARTICLE_NOT_PUBLISHED")
        article = {"tenant": tx.tenant_id, "article": locked.id}
        tx.defer(_VOTE, {**article, "voter": principal_of(call).subject_id, "helpful": request.helpful})
        [(helpful, unhelpful)] = tx.run(_VOTES, article)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        after.helpful_count, after.unhelpful_count = helpful, unhelpful
        if after != locked.message:
            after = self.put(tx, call, locked, after, "voted")
        return self.shown(tx, call, after)

    # Suggestions.

    def suggest_articles(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the published articles whose words fit a text best, of those that the caller may read."""
        paths, names = self._read_mask(request)
        reach = self.reach(call)
        size = pages.page_size(request.page_size, default=5, maximum=50)
        values = {"query": fold(request.query), "public_only": reach.scope is Scope.OWN, "size": size}
        found = tx.run(_SUGGEST, {"tenant": tx.tenant_id, **values})
        articles = self.store.get(tx, reach, [id for id, _ in found], names) if found else {}
        response: Any = call.method.output()
        for id, score in found:
            if id in articles:
                masks.prune(articles[id], paths)
                response.results.add(article=articles[id], score=score)
        return response
