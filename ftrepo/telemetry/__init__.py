"""Observers that turn events into something an operator sees: one file for each kind."""

from ftrepo.telemetry.logs import log_event

__all__ = ["log_event"]
