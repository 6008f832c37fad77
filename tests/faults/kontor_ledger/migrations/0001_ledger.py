"""Create the kit's tables and the effects."""

import sqlalchemy as sa
from alembic import op

from kontor_kit import migrations
from kontor_kit.changes.schema import create_change_log, drop_change_log
from kontor_kit.inbox.schema import create_inbox, drop_inbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    migrations.extensions()
    migrations.create_kit_tables()
    create_change_log()
    create_inbox()
    op.create_table(
        "effects",
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("sequence", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("resource_name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    migrations.secure("effects")


def downgrade():
    op.drop_table("effects")
    drop_inbox()
    drop_change_log()
