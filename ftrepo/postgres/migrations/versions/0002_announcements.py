"""New keys announce themselves, so that every instance learns of them at once.

One notification for a statement, whatever it inserts, because a transaction that notifies takes a
lock of the whole server while it commits; and none if nothing was inserted. It carries ids only:
whoever may send a notification could otherwise plant a key. More than 50 ids, or more than fit into
a notification (8,000 bytes), are announced as `*`: look at everything.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Announce the ids that a statement inserted, on the channel `ftrepo_public_keys`."""
    op.execute(
        """
        CREATE FUNCTION announce_public_keys() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            ids text;
            how_many integer;
        BEGIN
            SELECT string_agg(few.id, ' '), count(*) INTO ids, how_many
            FROM (SELECT id FROM inserted LIMIT 51) AS few;
            IF how_many > 50 OR octet_length(ids) > 7900 THEN
                PERFORM pg_notify('ftrepo_public_keys', '*');
            ELSIF how_many > 0 THEN
                PERFORM pg_notify('ftrepo_public_keys', ids);
            END IF;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER announce_public_keys AFTER INSERT ON public_keys
        REFERENCING NEW TABLE AS inserted
        FOR EACH STATEMENT EXECUTE FUNCTION announce_public_keys()
        """
    )


def downgrade() -> None:
    """Announce nothing any more; no key is touched."""
    op.execute("DROP TRIGGER announce_public_keys ON public_keys")
    op.execute("DROP FUNCTION announce_public_keys()")
