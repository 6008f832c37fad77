"""Note which roles are the standard ones, so that they can be brought up to date."""

import sqlalchemy as sa
from alembic import op

from kontor_kit import migrations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; what nobody has changed since the tenant was made is a standard role."""
    op.create_table(
        "standard_roles",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("role", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
    )
    migrations.secure("standard_roles", app="SELECT, INSERT, DELETE")
    op.execute(
        "INSERT INTO standard_roles SELECT tenant_id, id, display_name FROM roles"
        " WHERE version = 1 AND display_name IN ('Admin', 'Manager', 'Member', 'Reader')"
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("standard_roles")
