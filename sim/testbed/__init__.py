"""The testbed: the repository's code against a real PostgreSQL, in real time, with real faults.

It starts servers of its own on 127.0.0.1, breaks them and removes them; `cluster` is where to
begin. It needs Linux or macOS and, unless a server is given, PostgreSQL's programs: the optional
extra `embedded` brings them.
"""
