"""Create the kit's tables, the change log and the place of the relay."""

from kontor_kit import migrations
from kontor_kit.changes import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    migrations.extensions()
    migrations.create_kit_tables()
    schema.create_change_log()
    schema.add_restores()
    schema.create_relay()


def downgrade():
    schema.drop_relay()
    schema.drop_change_log()
