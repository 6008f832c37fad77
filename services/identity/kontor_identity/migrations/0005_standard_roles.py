"""Note which roles are the standard ones, so that they can be brought up to date."""

import sqlalchemy as sa
from alembic import op

from kontor_kit import migrations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; what somebody has changed since the tenant was made is no standard role any more."""
    op.create_table(
        "standard_roles",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Uuid),
    )
    migrations.secure("standard_roles", app="SELECT, INSERT, UPDATE")
    op.execute(
        "INSERT INTO standard_roles SELECT tenant_id, display_name, CASE WHEN version = 1 THEN id END FROM roles"
        " WHERE display_name IN ('Admin', 'Manager', 'Member', 'Reader')"
        # A deleted one stands behind one that is there under its name.
        " ORDER BY delete_time IS NOT NULL ON CONFLICT DO NOTHING"
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("standard_roles")
