"""The table of public keys.

`id` sorts by code point (collation "C") whatever the locale of the database, because pages of keys
follow each other in that order. `stored` is when the primary took the key, by its own clock: with
`created`, which is the service's, it gives the sync lag in SQL. Nothing is ever decided by it.

The years that PostgreSQL has and Python has not are refused, since one such row would make every
page unreadable that it is in.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

destroys = "public_keys"
"""The table that going back below this version deletes."""


def upgrade() -> None:
    """Make the table and the index by which expired keys are found."""
    op.execute(
        """
        CREATE TABLE public_keys (
            id text COLLATE "C" PRIMARY KEY,
            material bytea NOT NULL,
            algorithm text NOT NULL,
            created timestamptz NOT NULL,
            expires timestamptz NOT NULL,
            stored timestamptz NOT NULL DEFAULT clock_timestamp(),
            CONSTRAINT public_keys_lifetime CHECK (
                created < expires
                AND created >= '0001-01-01 00:00:00+00'
                AND expires <= '9999-12-31 23:59:59.999999+00'
            )
        )
        """
    )
    op.execute("CREATE INDEX public_keys_expires ON public_keys (expires)")


def downgrade() -> None:
    """Delete the table and every key in it."""
    op.execute("DROP TABLE public_keys")
