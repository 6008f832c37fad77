"""Say where in the log a tenant was restored."""

from kontor_kit.changes import schema

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    schema.add_restores()


def downgrade() -> None:
    """Drop it."""
    schema.drop_restores()
