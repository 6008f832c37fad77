"""Create the place of the relay."""

from kontor_kit.changes import schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    schema.create_relay()


def downgrade() -> None:
    """Drop it."""
    schema.drop_relay()
