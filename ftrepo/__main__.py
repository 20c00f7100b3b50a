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

_MONITORING = ("dashboard", "alerts", "metrics")
"""Commands that need no extra."""

_SERVICE = {"serve": "run the token-exchange service", "secret": "make a secret for a client"}
"""Commands that need the extra `service`, and what they do."""

_EXAMPLES = """\
examples:
  python -m ftrepo serve
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
    given = sys.argv[1:] if arguments is None else arguments
    first = given[0] if given else ""
    try:
        options = _parser(first).parse_args(given)
        code: int = options.command(options)
    except ImportError as error:
        extra = "service" if first in _SERVICE else "postgres"
        print(f"error: {error}; install it with: pip install 'ftrepo[{extra}]'", file=sys.stderr)
        return 2
    except (FtrepoError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser(first: str) -> argparse.ArgumentParser:
    """The parser, with what the first argument needs: each extra is loaded for its own commands."""
    parser = argparse.ArgumentParser(
        prog="python -m ftrepo",
        description="Run the service of the public keys, and look after its database and alerts.",
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
    if first not in _MONITORING and first not in _SERVICE:
        _add_database_commands(database.add_subparsers(required=True, metavar="COMMAND"))
    dashboard = commands.add_parser("dashboard", help="print the dashboard for Grafana")
    dashboard.set_defaults(command=_print_dashboard)
    alerts = commands.add_parser("alerts", help="print the alert rules for Prometheus")
    alerts.add_argument(
        "--runbooks",
        metavar="ADDRESS",
        help="where your team reads the operations guide; default: docs/operations.md",
    )
    alerts.set_defaults(command=_print_alerts)
    metrics = commands.add_parser("metrics", help="print the table of what is measured")
    metrics.set_defaults(command=_print_metrics)
    if first in _SERVICE:
        from ftrepo.service.command import add_service

        add_service(commands)
    else:
        for name, does in _SERVICE.items():
            commands.add_parser(name, help=does)
    return parser


def _print_dashboard(_: argparse.Namespace) -> int:
    from ftrepo.telemetry.grafana import dashboard_json

    print(dashboard_json(), end="")
    return 0


def _print_alerts(options: argparse.Namespace) -> int:
    from ftrepo.telemetry.grafana import alerts_yaml

    given = () if options.runbooks is None else (options.runbooks,)
    print(alerts_yaml(*given), end="")
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
