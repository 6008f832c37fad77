"""The one Alembic environment of all services; `kontor_kit.migrations` configures and runs it."""

from alembic import context

# Without a connection, the statements are written down and not run.
connection = context.config.attributes.get("connection")
context.configure(
    connection=connection,
    dialect_name=None if connection else "postgresql",
    target_metadata=context.config.attributes["metadata"],
    transaction_per_migration=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
