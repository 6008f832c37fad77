"""Say until when an opportunity is protected for the partner who brought it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("opportunities", sa.Column("partner_protection_end_time", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("opportunities", "partner_protection_end_time")
