"""Create the kit's tables, the inbox, and the effects."""

import sqlalchemy as sa
from alembic import op

from kontor_kit import migrations
from kontor_kit.inbox import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    migrations.extensions()
    migrations.create_kit_tables()
    schema.create_inbox()
    schema.create_sources()
    schema.add_subject()
    op.create_table(
        "effects",
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("sequence", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("resource_name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    migrations.secure("effects")


def downgrade():
    op.drop_table("effects")
    schema.drop_subject()
    schema.drop_sources()
    schema.drop_inbox()
