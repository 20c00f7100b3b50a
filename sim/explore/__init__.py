"""The search for what breaks the repository: random hostile worlds, invariants, shrinking."""
