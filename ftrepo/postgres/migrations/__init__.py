"""The versions of the database, in Alembic's form; `ftrepo.postgres.migrate` runs them."""
