"""The token-exchange service: external tokens in, internal tokens out, public keys for everybody.

::

    settings           what an operator may set, from a TOML file and the environment
    tokens/            use cases: exchange a token, issue a service token; none knows of a database
    providers/         whose tokens are accepted: their keys, and what is wrong with a token
    keys/              the service's own keys: their life, the key set, other instances
    http/              routes, errors, limits, health and metrics
    running            puts all of it together, starts it and stops it
    embedded/          a PostgreSQL of its own, where none is given
    server             one process: started, served by uvicorn, stopped in order
    command            `python -m ftrepo serve`

Needs `pip install 'ftrepo[service]'`.
"""
