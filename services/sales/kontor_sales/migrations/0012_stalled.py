"""Let opportunities that are stalled be told of and listed."""

import sqlalchemy as sa
from alembic import op

from kontor_kit import migrations

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# squawk-ignore require-concurrent-index-creation: this stands before the first release: no table has rows where it runs

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the time, and when to look; what is open is looked at once."""
    op.add_column("opportunities", sa.Column("stalled_time", TIME))
    migrations.create_indexes("opportunities", "stalled_time")
    op.create_table(
        "stall_checks",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("check_time", TIME, nullable=False),
    )
    op.create_index("stall_checks_check_time", "stall_checks", ["tenant_id", "check_time"])
    migrations.secure("stall_checks", system="SELECT")
    op.execute(
        "INSERT INTO stall_checks SELECT tenant_id, id, now() FROM opportunities WHERE state = 1 AND delete_time IS NULL"
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("stall_checks")
    op.drop_index("opportunities_stalled_time", "opportunities")
    op.drop_column("opportunities", "stalled_time")
