"""Create queues, articles and attachments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from kontor_kit import migrations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# squawk-ignore adding-foreign-key-constraint: this stands before the first release: no table has rows where it runs
# squawk-ignore constraint-missing-not-valid: this stands before the first release: no table has rows where it runs
# squawk-ignore require-concurrent-index-creation: this stands before the first release: no table has rows where it runs

KEY = sa.Text(collation="C")
MOMENT = sa.DateTime(timezone=True)
TIMES = ("create_time", "update_time")


def upgrade() -> None:
    """Create the tables."""
    _queues()
    _articles()
    _attachments()
    _tickets()


def _queues() -> None:
    migrations.create_resource(
        "queues",
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("members", JSONB),
        sa.Column("assignment", sa.SmallInteger, nullable=False),
        sa.Column("skill_rules", JSONB),
        sa.Column("reopen_policy", sa.SmallInteger, nullable=False),
        sa.Column("reopen_days", sa.Integer, nullable=False),
        owned=False,
    )
    migrations.create_unique("queues", "display_name_key")
    migrations.create_indexes("queues", "assignment", *TIMES)
    op.create_table(
        "queue_turns",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("queue", sa.Uuid, primary_key=True),
        sa.Column("member", sa.Uuid, primary_key=True),
        sa.Column("turn", sa.BigInteger, nullable=False),
        _belongs("queue_turns", "queue", "queues"),
    )
    migrations.secure("queue_turns")
    op.create_table(
        "known_users",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("user", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("deactivated", sa.Boolean, nullable=False),
    )
    migrations.secure("known_users")
    op.create_table(
        "known_absences",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("absence", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("user", sa.Uuid, nullable=False),
        sa.Column("start_time", MOMENT, nullable=False),
        sa.Column("end_time", MOMENT),
        sa.Column("live", sa.Boolean, nullable=False),
    )
    op.create_index("known_absences_user", "known_absences", ["tenant_id", "user", "start_time"])
    migrations.secure("known_absences")
    migrations.let_system_look("queues")


def _articles() -> None:
    migrations.create_resource(
        "articles",
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("title_key", KEY, nullable=False),
        sa.Column("summary", sa.Text),
        sa.Column("body", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("visibility", sa.SmallInteger, nullable=False),
        sa.Column("category", KEY),
        sa.Column("language_code", KEY),
        sa.Column("keywords", ARRAY(sa.Text)),
        sa.Column("products", ARRAY(sa.Uuid)),
        sa.Column("publish_time", MOMENT),
        sa.Column("helpful_count", sa.Integer, nullable=False),
        sa.Column("unhelpful_count", sa.Integer, nullable=False),
        sa.Column("external_ids", JSONB),
        sa.Column("search_text", sa.Text, nullable=False),
        owned=False,
    )
    # Whoever sees only a part of the articles finds the best of that part.
    seen = "($1 IS NULL OR (r.state <> 1 AND ($2 IS NOT NULL OR (r.state = 2 AND r.visibility = 2))))"
    migrations.create_search("articles", reach=seen)
    columns = ("title_key", "state", "visibility", "category", "language_code", "publish_time", "helpful_count", *TIMES)
    migrations.create_indexes("articles", *columns)
    op.create_table(
        "article_votes",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("article", sa.Uuid, primary_key=True),
        sa.Column("voter", sa.Uuid, primary_key=True),
        sa.Column("helpful", sa.Boolean, nullable=False),
        _belongs("article_votes", "article", "articles"),
    )
    migrations.secure("article_votes")
    op.create_table(
        "article_words",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("article", sa.Uuid, primary_key=True),
        sa.Column("words", TSVECTOR, nullable=False),
        _belongs("article_words", "article", "articles"),
    )
    op.create_index("article_words_words", "article_words", ["tenant_id", "words"], postgresql_using="gin")
    migrations.secure("article_words")
    op.execute(_SUGGEST.replace("{tenant}", migrations.TENANT))
    op.execute("REVOKE EXECUTE ON FUNCTION suggest_articles(text, boolean, integer) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION suggest_articles(text, boolean, integer) TO {migrations.app_role()}")


def _attachments() -> None:
    migrations.create_resource(
        "attachments",
        sa.Column("ticket", sa.Uuid, nullable=False),
        sa.Column("visibility", sa.SmallInteger, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        _belongs("attachments", "ticket", "tickets"),
        owned=False,
    )
    migrations.create_indexes("attachments", "ticket", "visibility", *TIMES)
    migrations.let_system_look("attachments")


def _tickets() -> None:
    """Let tickets name queues and articles, and say how they came to who works on them."""
    op.add_column("tickets", sa.Column("assignment", JSONB))
    for column, parent in (("queue", "queues"), ("article", "articles")):
        keys = ["tenant_id", column], ["tenant_id", "id"]
        op.create_foreign_key(f"tickets_{column}_fkey", "tickets", parent, *keys)
    # What somebody works on, and what waits in a queue for somebody.
    live = "category IN (1, 2, 3) AND delete_time IS NULL"
    op.create_index("tickets_load", "tickets", ["tenant_id", "owner", "queue"], postgresql_where=sa.text(live))
    waiting = sa.text(f"owner IS NULL AND queue IS NOT NULL AND {live}")
    columns = ["tenant_id", "queue", "priority", "id"]
    op.create_index("tickets_waiting", "tickets", columns, postgresql_where=waiting)


def _belongs(table: str, column: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{parent}.tenant_id", f"{parent}.id"], name=f"{table}_{column}_fkey"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION suggest_articles")
    op.execute("DROP FUNCTION search_articles")
    for index in ("tickets_waiting", "tickets_load"):
        op.drop_index(index)
    for column in ("article", "queue"):
        op.drop_constraint(f"tickets_{column}_fkey", "tickets")
    op.drop_column("tickets", "assignment")
    ours = ("attachments", "article_words", "article_votes", "articles")
    for table in (*ours, "known_absences", "known_users", "queue_turns", "queues"):
        op.drop_table(table)


# Under row security no index serves the search for words, so that the function works as the tables' owner and compares
# the tenant itself. Nobody says which language a question is in: its words are brought to their stems in each of those
# that articles are written in.
_SUGGEST = """
CREATE FUNCTION suggest_articles(query text, public_only boolean, size integer)
RETURNS TABLE (id uuid, score double precision)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp
AS $body$
    WITH wanted AS MATERIALIZED (
        SELECT string_agg(
            DISTINCT '''' || replace(replace(stem, '\\', '\\\\'), '''', '''''') || '''', ' | '
        )::tsquery AS stems
        FROM unnest(ARRAY['danish', 'german', 'english', 'spanish', 'finnish', 'french', 'hungarian', 'italian',
            'norwegian', 'dutch', 'portuguese', 'romanian', 'russian', 'swedish', 'turkish', 'simple']) configuration,
            unnest(tsvector_to_array(to_tsvector(configuration::regconfig, query))) stem
    ), found AS MATERIALIZED (
        SELECT w.article, w.words FROM wanted, article_words w
        WHERE w.tenant_id = {tenant} AND w.words @@ wanted.stems
        LIMIT 10000
    )
    SELECT a.id, ts_rank(f.words, wanted.stems, 32)::float8 AS score
    FROM wanted, found f
    JOIN articles a ON a.tenant_id = {tenant} AND a.id = f.article
    WHERE a.delete_time IS NULL AND a.state = 2 AND (a.visibility = 2 OR NOT public_only)
    ORDER BY score DESC, a.id
    LIMIT size
$body$
"""
