"""Where Alembic finds its environment."""
