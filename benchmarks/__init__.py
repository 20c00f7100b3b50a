"""What the project costs, measured against the least that it could cost."""
