"""The command line of the service: `python -m ftrepo serve` and `python -m ftrepo secret`.

Exit codes: 0 when it was told to stop and has stopped in order, by Ctrl-C, SIGTERM or the end of
its terminal alike, as servers do by custom; 2 when it could not be started; 128 and the number of
the signal when it was told twice and ended at once.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.policy import Policy
from ftrepo.postgres.dsn import redacted
from ftrepo.service.advice import advice
from ftrepo.service.log_lines import Format, set_up_logging
from ftrepo.service.named_files import check_named_files
from ftrepo.service.settings import ServiceSettings
from ftrepo.service.settings_example import example_toml
from ftrepo.service.settings_sources import mistyped_variables
from ftrepo.service.tokens import new_secret

if TYPE_CHECKING:
    from ftrepo.postgres.commands import Commands

_log = logging.getLogger("ftrepo")

_EXAMPLES = """\
examples:
  python -m ftrepo serve                                    a PostgreSQL of its own, nothing to set
  python -m ftrepo serve --print-config > service.toml      every setting, explained
  python -m ftrepo serve --config service.toml --check
  FTREPO_DSN=postgresql://ftrepo:...@db/ftrepo python -m ftrepo serve --config service.toml

Every setting can also be given in the environment: [server] port is FTREPO_SERVER__PORT.
"""

_WAY_OF = {
    "host": ("server", "host"),
    "port": ("server", "port"),
    "database": ("dsn",),
    "policy": ("policy",),
    "data": ("folder",),
    "issuer": ("issuer",),
}
"""Which setting an option of the command line is."""


def add_service(commands: Commands) -> None:
    """Add the commands to the parser of `python -m ftrepo`."""
    serve = commands.add_parser(
        "serve",
        help="run the token-exchange service",
        description="Run the token-exchange service until Ctrl-C or SIGTERM.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="the settings, in TOML")
    serve.add_argument("--host", help="where to listen; default: 127.0.0.1")
    serve.add_argument("--port", type=int, help="default: 8080; 0 takes any that is free")
    serve.add_argument(
        "--database",
        metavar="DSN",
        help="postgresql://user@host:port/database; default: one of its own. A password is better "
        "in FTREPO_DSN, where the list of processes does not show it",
    )
    serve.add_argument("--policy", metavar="FILE", help="the repository's policy, in TOML")
    serve.add_argument("--data", metavar="FOLDER", help="where what must survive a restart is kept")
    serve.add_argument("--issuer", help="the claim `iss` of its tokens; default: its own address")
    instead = serve.add_mutually_exclusive_group()
    instead.add_argument(
        "--print-config", action="store_true", help="print a settings file with everything in it"
    )
    instead.add_argument(
        "--check",
        action="store_true",
        help="read the settings and the files they name, say what is odd, and start nothing",
    )
    serve.set_defaults(command=_serve)
    secret = commands.add_parser("secret", help="make a secret for a client, and its hash")
    secret.set_defaults(command=_secret)


def _serve(options: argparse.Namespace) -> int:
    if options.print_config:
        print(example_toml(), end="")
        return 0
    settings = ServiceSettings.load(options.config, **_given(options))
    if options.check:
        return _check(settings)
    # It takes a second to load, which whoever only checks need not wait for.
    from ftrepo.service.server import serve  # noqa: PLC0415

    format_: Format = settings.log_format or ("text" if sys.stderr.isatty() else "json")
    set_up_logging(format_, settings.log_level)
    for line in mistyped_variables(ServiceSettings):
        _log.warning("%s", line)

    def started(url: str) -> None:
        if format_ == "text":
            print(_greeting(settings, options.config, url), flush=True)
        else:
            fields = {
                "url": url,
                "issuer": settings.issuer or url,
                "database": _database(settings),
                "folder": str(settings.folder),
            }
            _log.info("serving on %s", url, extra=fields)

    asyncio.run(serve(settings, started=started))
    return 0


def _secret(_: argparse.Namespace) -> int:
    secret, digest = new_secret()
    print(f"secret         {secret}")
    print(f"secret_sha256  {digest}")
    print("Give the secret to the client; the hash belongs into the settings, under [[clients]].")
    return 0


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for option, (*tables, name) in _WAY_OF.items():
        if (value := getattr(options, option)) is not None:
            table = given
            for each in tables:
                table = table.setdefault(each, {})
            table[name] = value
    return given


def _check(settings: ServiceSettings) -> int:
    policy = Policy() if settings.policy is None else Policy.from_toml(settings.policy)
    check_named_files(settings)
    for sentence in (*mistyped_variables(ServiceSettings), *advice(settings, policy)):
        print(f"note: {sentence}")
    print("the settings can be used")
    return 0


def _greeting(settings: ServiceSettings, config: Path | None, url: str) -> str:
    """What a person at a terminal wants to know first."""
    providers = ", ".join(each.name for each in settings.providers)
    clients = ", ".join(each.id for each in settings.clients)
    rows = {
        "address": url,
        "database": _database(settings),
        "folder": settings.folder,
        "settings": config or "the defaults and the environment",
        "policy": settings.policy or "the defaults",
        "issuer": settings.issuer or url,
        "providers": providers or "none: no tokens are exchanged",
        "clients": clients or "none: no tokens for services",
    }
    lines = ["", *(f"  {name:<10} {value}" for name, value in rows.items()), ""]
    lines += [f"  try        curl {url}/health", f"             curl {url}/.well-known/jwks.json"]
    if not settings.providers and not settings.clients:
        lines += ["  then       python -m ftrepo serve --print-config > service.toml"]
    return "\n".join([*lines, "  stop       Ctrl-C", ""])


def _database(settings: ServiceSettings) -> str:
    if settings.dsn is None:
        return "a PostgreSQL of its own, in the folder"
    return redacted(settings.dsn.get_secret_value())
