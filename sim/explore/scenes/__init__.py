"""Scenes that are set on a world that was drawn: each module has those of one kind."""
