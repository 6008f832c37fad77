"""Keep who did what happened in other services."""

from kontor_kit.inbox import schema

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    schema.add_subject()


def downgrade() -> None:
    """Drop it."""
    schema.drop_subject()
