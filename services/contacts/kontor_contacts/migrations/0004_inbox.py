"""Create the inbox."""

from kontor_kit.inbox import schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the inbox."""
    schema.create_inbox()


def downgrade() -> None:
    """Drop the inbox."""
    schema.drop_inbox()
