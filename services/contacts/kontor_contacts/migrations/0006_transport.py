"""Let versions of the code follow others side by side; create the place of the relay."""

from kontor_kit.changes import schema as changes
from kontor_kit.inbox import schema as inbox

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# squawk-ignore ban-drop-table: this stands before the first release: no table has rows where it runs


def upgrade() -> None:
    """Create the tables."""
    changes.create_relay()
    inbox.create_sources()


def downgrade() -> None:
    """Drop them."""
    inbox.drop_sources()
    changes.drop_relay()
