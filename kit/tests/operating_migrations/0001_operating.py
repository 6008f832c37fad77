"""Create the kit's tables, those of operations, and one where effects are counted."""

from alembic import op

from kontor_kit import migrations
from kontor_kit.operations import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    migrations.create_kit_tables()
    schema.create_operations()
    op.execute("CREATE TABLE effects (tenant_id uuid NOT NULL, key text NOT NULL)")
    migrations.secure("effects", system="SELECT, INSERT")
    op.execute("CREATE TABLE remote (key text PRIMARY KEY, calls integer NOT NULL)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON remote TO {migrations.app_role()}")


def downgrade():
    op.execute("DROP TABLE remote, effects")
    schema.drop_operations()
    for table in ("change_pending", "requests", "external_ids", "terms"):
        op.drop_table(table)
