"""Create what is known of open complaints."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit import migrations

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "complaints",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("ticket", sa.Uuid, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("account", sa.Uuid),
        sa.Column("products", ARRAY(sa.Uuid), nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
    )
    op.create_index("complaints_account", "complaints", ["tenant_id", "account"], postgresql_where=sa.text("open"))
    migrations.secure("complaints")


def downgrade() -> None:
    """Drop it."""
    op.drop_table("complaints")
