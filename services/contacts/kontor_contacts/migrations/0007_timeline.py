"""Create the timeline, and keep who did what happened in other services."""

from kontor_kit.inbox import schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    schema.add_subject()


def downgrade() -> None:
    """Drop them."""
    schema.drop_subject()
