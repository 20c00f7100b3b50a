"""The service's own keys.

::

    life            which key signs now: made on schedule, the private half in memory only
    key_set         every key that a verifier may need
    peers           other instances, asked over HTTP for keys that nobody else can give
    wire            a public key as instances tell each other

None of them knows whether the repository has a database behind it, or how that fares.
"""

from ftrepo.service.keys.key_set import KeySet, PublishedKeys
from ftrepo.service.keys.life import KeyLife
from ftrepo.service.keys.peers import HttpPeers, PeerStatus
from ftrepo.service.keys.wire import from_wire, to_wire

__all__ = [
    "HttpPeers",
    "KeyLife",
    "KeySet",
    "PeerStatus",
    "PublishedKeys",
    "from_wire",
    "to_wire",
]
