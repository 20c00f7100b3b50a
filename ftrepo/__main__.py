"""The command line: `python -m ftrepo`.

Whatever a user can get wrong ends in one clear line and exit code 2; Ctrl-C in exit code 130.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftrepo.errors import FtrepoError

if TYPE_CHECKING:
    from ftrepo.postgres.commands import Commands

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, by the custom of shells."""

_MONITORING = (["dashboard"], ["alerts"], ["metrics"])
"""Commands that do without a database, whose commands are then not loaded."""

_EXAMPLES = """\
examples:
  export FTREPO_DSN=postgresql://ftrepo@db.example:5432/ftrepo
  python -m ftrepo db status
  python -m ftrepo db upgrade --sql
  python -m ftrepo db upgrade
  python -m ftrepo db downgrade 1
  python -m ftrepo db backup --to /backups --keep 7
  python -m ftrepo db verify --from /backups --archive /archive
  python -m ftrepo db restore --from /backups --archive /archive --data /new --to-latest
  python -m ftrepo dashboard > ftrepo.json
  python -m ftrepo alerts > /etc/prometheus/ftrepo.yml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        options = _parser(for_monitoring=list(given[:1]) in _MONITORING).parse_args(given)
        code: int = options.command(options)
    except ImportError as error:
        print(f"error: {error}; install it with: pip install 'ftrepo[postgres]'", file=sys.stderr)
        return 2
    except (FtrepoError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser(*, for_monitoring: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ftrepo",
        description="Look after the database of the public keys, and after those who watch it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    database = commands.add_parser(
        "db",
        help="the versions of the database, backups and restores",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if not for_monitoring:
        _add_database_commands(database.add_subparsers(required=True, metavar="COMMAND"))
    dashboard = commands.add_parser("dashboard", help="print the dashboard for Grafana")
    dashboard.set_defaults(command=_print_dashboard)
    alerts = commands.add_parser("alerts", help="print the alert rules for Prometheus")
    alerts.set_defaults(command=_print_alerts)
    metrics = commands.add_parser("metrics", help="print the table of what is measured")
    metrics.set_defaults(command=_print_metrics)
    return parser


def _print_dashboard(_: argparse.Namespace) -> int:
    from ftrepo.telemetry.grafana import dashboard_json

    print(dashboard_json(), end="")
    return 0


def _print_alerts(_: argparse.Namespace) -> int:
    from ftrepo.telemetry.grafana import alerts_yaml

    print(alerts_yaml(), end="")
    return 0


def _print_metrics(_: argparse.Namespace) -> int:
    from ftrepo.telemetry.manual import metrics_table

    print(metrics_table(), end="")
    return 0


def _add_database_commands(commands: Commands) -> None:
    # The database is an optional extra, so what needs it is imported only here.
    from ftrepo.postgres.commands import add_migrations
    from ftrepo.postgres.recovery.commands import add_recovery

    add_migrations(commands)
    add_recovery(commands)


if __name__ == "__main__":
    sys.exit(main())
