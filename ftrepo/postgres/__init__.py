"""PostgreSQL as the store of record. An optional extra: nothing else in `ftrepo` imports it."""

from ftrepo.postgres.pool import Pool
from ftrepo.postgres.settings import ConnectionSettings, PoolSettings
from ftrepo.postgres.store import PostgresRepository

__all__ = ["ConnectionSettings", "Pool", "PoolSettings", "PostgresRepository"]
