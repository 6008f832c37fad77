"""Create the kit's tables and the effects."""

import sqlalchemy as sa
from alembic import op

from kontor_kit import migrations
from kontor_kit.changes import schema as changes
from kontor_kit.inbox import schema as inbox
from kontor_kit.operations import schema as operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    migrations.extensions()
    migrations.create_kit_tables()
    changes.create_change_log()
    changes.add_restores()
    changes.create_relay()
    inbox.create_inbox()
    inbox.create_sources()
    inbox.add_subject()
    operations.create_operations()
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
    operations.drop_operations()
    inbox.drop_subject()
    inbox.drop_sources()
    inbox.drop_inbox()
    changes.drop_relay()
    changes.drop_change_log()
