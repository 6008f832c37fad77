"""Create the kit's tables."""

from alembic import op

from kontor_kit import definition_copies, migrations
from kontor_kit.changes import schema as changes
from kontor_kit.inbox import schema as inbox
from kontor_kit.operations import schema as operations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# squawk-ignore ban-drop-table: it was made a few statements before


def upgrade() -> None:
    """Create them."""
    migrations.extensions()
    migrations.create_kit_tables()
    changes.create_change_log()
    changes.create_relay()
    inbox.create_inbox()
    inbox.create_sources()
    inbox.add_subject()
    operations.create_operations()
    definition_copies.create()


def downgrade() -> None:
    """Drop them."""
    definition_copies.drop()
    operations.drop_operations()
    inbox.drop_subject()
    inbox.drop_sources()
    inbox.drop_inbox()
    changes.drop_relay()
    changes.drop_change_log()
    for table in ("change_pending", "requests", "external_ids", "terms"):
        op.drop_table(table)
