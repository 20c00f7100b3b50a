"""What the store says to PostgreSQL."""

from __future__ import annotations

INSERT = """
    INSERT INTO public_keys (id, material, algorithm, created, expires)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING
"""

INSERT_MANY = """
    INSERT INTO public_keys (id, material, algorithm, created, expires)
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::timestamptz[], $5::timestamptz[])
    ON CONFLICT (id) DO NOTHING
"""

# For each key that is not there as given: whether nobody holds its id. Expired holders are deleted
# on the way, which frees the id; not those that somebody else is deleting, so that nobody waits.
LOOK_AT_HOLDERS = """
    WITH freed AS (
        DELETE FROM public_keys WHERE id = ANY (ARRAY(
            SELECT id FROM public_keys WHERE id = ANY ($1::text[]) AND expires <= $4
            ORDER BY id FOR UPDATE SKIP LOCKED
        ))
    )
    SELECT given.id, held.id IS NULL AS is_free
    FROM unnest($1::text[], $2::bytea[], $3::text[]) AS given (id, material, algorithm)
    LEFT JOIN public_keys AS held ON held.id = given.id AND held.expires > $4
    WHERE (held.material = given.material AND held.algorithm = given.algorithm) IS NOT TRUE
"""

_COLUMNS = "SELECT id, material, algorithm, created, expires FROM public_keys"
SELECT = f"{_COLUMNS} WHERE id = $1 AND expires > $2"
SELECT_MANY = f"{_COLUMNS} WHERE id = ANY ($1::text[]) AND expires > $2"
SELECT_PAGE = f"{_COLUMNS} WHERE id > $1 AND expires > $2 ORDER BY id LIMIT $3"

DELETE_EXPIRED = """
    DELETE FROM public_keys WHERE id = ANY (ARRAY(
        SELECT id FROM public_keys WHERE expires <= $1
        ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED
    ))
"""

# A write of no rows. It is refused like any other: by a standby, in read-only mode, without the
# table or the right to write to it, and while somebody has locked the table.
WRITE_NOTHING = "INSERT INTO public_keys (id) SELECT '' WHERE false"
