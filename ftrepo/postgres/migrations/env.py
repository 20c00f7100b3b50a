"""How Alembic runs the versions: on the connection that `migrate` hands over, or as SQL text.

Each version is a transaction of its own, so that one which fails leaves the database at the version
before it, and never in between.
"""

from __future__ import annotations

from alembic import context

shared = context.config.attributes
if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        version_table=shared["version_table"],
        transaction_per_migration=True,
        literal_binds=True,
    )
else:
    context.configure(
        connection=shared["connection"],
        version_table=shared["version_table"],
        transaction_per_migration=True,
    )
with context.begin_transaction():
    context.run_migrations()
