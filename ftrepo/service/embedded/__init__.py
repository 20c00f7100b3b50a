"""A PostgreSQL of the service's own, for where none is given: nothing to install, nothing to set.

::

    layout       what is where in its folder, and who holds it
    orphan       the server that an earlier service left running when it was killed
    server       starting it, keeping it running, stopping it

It is a real server with durability as shipped: what it has committed survives a crash of the
machine. It listens on a socket in a private folder and on no network, so there is no password. One
instance of the service uses it; several of them need a database that all of them can reach.
"""

from ftrepo.service.embedded.layout import EmbeddedPostgresError
from ftrepo.service.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
