"""The search for settings: objectives, constraints, a recommendation, and how it was checked."""
