"""Create exchange rates, quotas, adjustments and snapshots."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from kontor_kit import migrations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# squawk-ignore require-concurrent-index-creation: this stands before the first release: no table has rows where it runs

KEY = sa.Text(collation="C")
TIMES = ("create_time", "update_time")


def upgrade() -> None:
    """Create the tables."""
    _exchange_rates()
    _quotas()
    _adjustments()
    _opportunities()
    _snapshots()


def _exchange_rates() -> None:
    migrations.create_resource(
        "exchange_rates",
        sa.Column("currency_code", KEY, nullable=False),
        sa.Column("base_currency_code", KEY, nullable=False),
        sa.Column("rate", sa.Numeric, nullable=False),
        sa.Column("start_date", sa.Date, nullable=False),
        owned=False,
    )
    migrations.create_unique("exchange_rates", "currency_code", "start_date")
    migrations.create_indexes("exchange_rates", "currency_code", "start_date", *TIMES)


def _period() -> list[sa.Column]:  # type: ignore[type-arg]
    return [
        sa.Column("period", sa.SmallInteger, nullable=False),
        sa.Column("start_date", sa.Date, nullable=False),
        sa.Column("amount_amount", sa.Numeric),
        sa.Column("amount_currency", sa.String(3)),
    ]


def _quotas() -> None:
    migrations.create_resource("quotas", *_period(), sa.Column("whole_team", sa.Boolean, nullable=False))
    migrations.create_indexes("quotas", "period", "start_date", "whole_team", *TIMES)
    key = ["tenant_id", "start_date", "period"]
    for name, column, condition in (("users", "owner", "NOT whole_team"), ("teams", "team", "whole_team")):
        where = sa.text(f"{condition} AND delete_time IS NULL")
        op.create_index(f"quotas_of_{name}", "quotas", [*key, column], unique=True, postgresql_where=where)


def _adjustments() -> None:
    table = "forecast_adjustments"
    migrations.create_resource(
        table,
        *_period(),
        sa.Column("forecast_category", sa.SmallInteger, nullable=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("note", sa.Text),
    )
    migrations.create_indexes(table, "period", "start_date", "forecast_category", "level", *TIMES)
    key = ["tenant_id", "start_date", "period", "owner", "forecast_category", "level"]
    where = sa.text("delete_time IS NULL")
    op.create_index(f"{table}_of_users", table, key, unique=True, postgresql_where=where)


def _opportunities() -> None:
    op.add_column("opportunities", sa.Column("base_amount_amount", sa.Numeric))
    op.add_column("opportunities", sa.Column("base_amount_currency", sa.String(3)))
    its = ["owner", "team", "pipeline", "amount_currency", "amount_amount"]
    base = ["base_amount_currency", "base_amount_amount"]
    for name, column, state, included in (
        ("open", "close_date", 1, [*its, "stage", "forecast_category"]),
        ("won", "close_time", 2, [*its, *base]),
    ):
        op.create_index(
            f"opportunities_forecast_{name}",
            "opportunities",
            ["tenant_id", column],
            postgresql_include=included,
            postgresql_where=sa.text(f"state = {state} AND delete_time IS NULL"),
        )


def _snapshots() -> None:
    migrations.create_resource(
        "forecast_snapshots",
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("base_currency_code", sa.String(3)),
        owned=False,
    )
    migrations.create_indexes("forecast_snapshots", "kind", "day", *TIMES)
    daily = sa.text("kind = 1")
    op.create_index(
        "forecast_snapshots_daily", "forecast_snapshots", ["tenant_id", "day"], unique=True, postgresql_where=daily
    )
    op.create_table(
        "forecast_deals",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("snapshot", sa.Uuid, primary_key=True),
        sa.Column("opportunity", sa.Uuid, primary_key=True),
        sa.Column("owner", sa.Uuid),
        sa.Column("team", sa.Uuid),
        sa.Column("pipeline", sa.Uuid, nullable=False),
        sa.Column("stage", KEY, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("forecast_category", sa.SmallInteger, nullable=False),
        sa.Column("probability", sa.Numeric, nullable=False),
        sa.Column("day", sa.Date),
        sa.Column("currency", sa.String(3)),
        sa.Column("amount", sa.Numeric),
        sa.Column("base_amount", sa.Numeric),
        sa.ForeignKeyConstraint(
            ["tenant_id", "snapshot"],
            ["forecast_snapshots.tenant_id", "forecast_snapshots.id"],
            name="forecast_deals_snapshot_fkey",
        ),
    )
    # What a snapshot says is never changed.
    migrations.secure("forecast_deals", app="SELECT, INSERT, DELETE")
    op.create_table(
        "win_models",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("train_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome_count", sa.Integer, nullable=False),
        sa.Column("won_rate", sa.Float, nullable=False),
        sa.Column("model", JSONB, nullable=False),
        sa.Column("back_test", JSONB, nullable=False),
    )
    migrations.secure("win_models")
    for table in ("pipelines", "forecast_snapshots"):
        migrations.let_system_look(table)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP POLICY system ON pipelines")
    op.execute(f"REVOKE SELECT ON pipelines FROM {migrations.system_role()}")
    for name in ("open", "won"):
        op.drop_index(f"opportunities_forecast_{name}", "opportunities")
    for column in ("base_amount_currency", "base_amount_amount"):
        op.drop_column("opportunities", column)
    for table in (
        "win_models",
        "forecast_deals",
        "forecast_snapshots",
        "forecast_adjustments",
        "quotas",
        "exchange_rates",
    ):
        op.drop_table(table)
