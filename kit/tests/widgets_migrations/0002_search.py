"""Make widgets searchable, and give them custom fields."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from kontor_kit import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")


def upgrade():
    migrations.create_search("widgets")
    migrations.create_resource(
        "custom_field_definitions",
        sa.Column("resource_type", KEY, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("options", JSONB),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.Column("filterable", sa.Boolean, nullable=False),
        sa.Column("min_value", sa.Double),
        sa.Column("max_value", sa.Double),
        sa.Column("max_length", sa.Integer, nullable=False),
        owned=False,
    )


def downgrade():
    op.drop_table("custom_field_definitions")
    op.execute("DROP FUNCTION search_widgets")
    op.drop_index("widgets_search", "widgets")
