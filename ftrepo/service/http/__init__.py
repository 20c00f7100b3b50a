"""The service over HTTP: what is asked, what is answered, and what is refused before anybody looks.

::

    envelope           every answer: request id, headers, metrics; what nobody caught
      one_reading      what could be read in two ways: lengths, paths
      limits           header, body and time limits, requests in flight, rates
        app            routes:  tokens  keys  internal  health  metrics
    problems           every error, turned into an answer in one place

Each middleware is plain ASGI. There is no CORS: tokens are for programs, and nothing here is meant
for a browser on another site.
"""
