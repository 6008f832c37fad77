"""Create the tables of jobs and operations."""

from kontor_kit.operations import schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    schema.create_operations()


def downgrade() -> None:
    """Drop them."""
    schema.drop_operations()
