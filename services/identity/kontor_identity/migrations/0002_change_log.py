"""Create the change log."""

from kontor_kit.changes import schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the change log, and its first partitions."""
    schema.create_change_log()


def downgrade() -> None:
    """Drop the change log."""
    schema.drop_change_log()
