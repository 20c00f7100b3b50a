"""Disaster recovery: base backups, archiving of the write-ahead log, restores that are checked."""

from ftrepo.postgres.recovery.backup import take_backup, verify_backup
from ftrepo.postgres.recovery.restore import Target, restore
from ftrepo.postgres.recovery.tools import RecoveryError

__all__ = ["RecoveryError", "Target", "restore", "take_backup", "verify_backup"]
