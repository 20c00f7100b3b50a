"""The command `python -m sim service`: the service itself, measured before a real PostgreSQL.

Everything runs on this machine: a server of PostgreSQL and one or more processes of the service,
which are started for this and removed with it, and a load. A key lives for seconds here.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftrepo.designs import policy_named_or_file
from ftrepo.errors import FtrepoError
from sim.arguments import add_policy, console, count, positive, seed
from sim.world.errors import InputError

if TYPE_CHECKING:
    from sim.testbed.cluster import Cluster

_EXAMPLES = """\
examples:
  python -m sim service verify
  python -m sim service verify --instances 2 --no-peers --phase-s 60
  python -m sim service predict
  python -m sim service kill --json build/service-kill.json
"""


def add_command(commands: Any) -> None:
    """Add it to the parser of `python -m sim`."""
    service = commands.add_parser(
        "service",
        help="measure the token-exchange service before a PostgreSQL that fails",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = service.add_subparsers(required=True, metavar="WHAT")

    verify = kinds.add_parser("verify", help="public clients verify tokens in every phase")
    verify.add_argument(
        "--instances", type=count, default=1, metavar="N", help="default: %(default)s"
    )
    verify.add_argument(
        "--no-peers", dest="peers", action="store_false", help="instances ask each other nothing"
    )
    add_policy(verify)
    verify.add_argument(
        "--phase-s",
        type=positive,
        default=20.0,
        metavar="SECONDS",
        help="how long each phase lasts, the outages among them; default: %(default)g",
    )
    verify.add_argument(
        "--rate",
        type=positive,
        default=1.0,
        metavar="FACTOR",
        help="so many times the load of 10 tokens, 30 keys and 25 verifications a second; "
        "default: %(default)g",
    )
    verify.add_argument("--seed", type=seed, default=1, metavar="N", help="default: %(default)s")
    _add_json(verify)
    verify.set_defaults(command=_verify)

    predict = kinds.add_parser(
        "predict", help="theory, simulation and reality of a restart in an outage"
    )
    predict.add_argument(
        "--only", nargs="+", default=[], metavar="POLICY", help="of those that the table names"
    )
    predict.add_argument(
        "--phase-s",
        type=positive,
        default=10.0,
        metavar="SECONDS",
        help="from the outage to the restart, and half of the time from there to its end; "
        "default: %(default)g",
    )
    predict.add_argument(
        "--workers", type=count, metavar="N", help="processes; default: one for each processor"
    )
    _add_json(predict)
    predict.set_defaults(command=_predict)

    kill = kinds.add_parser("kill", help="kill -9 of the service in an outage: what is lost")
    kill.add_argument(
        "--intervals",
        type=count,
        default=5,
        metavar="N",
        help="keys that are made in the outage before; default: %(default)s",
    )
    kill.add_argument(
        "--rotation-s",
        type=positive,
        default=2.0,
        metavar="SECONDS",
        help="the time between two keys; longer on a machine that is busy; default: %(default)g",
    )
    _add_json(kill)
    kill.set_defaults(command=_kill)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")


def _verify(options: argparse.Namespace) -> int:
    policy = policy_named_or_file(options.policy)
    with _testbed() as server:
        from sim.testbed import service_report
        from sim.testbed.service_load import LoadSettings
        from sim.testbed.service_process import FleetSettings
        from sim.testbed.service_verify import VerifySettings, measure_verification

        settings = VerifySettings(
            phase_s=options.phase_s,
            fleet=FleetSettings(instances=options.instances, peers=options.peers, policy=policy),
            load=LoadSettings(seed=options.seed).times(options.rate),
        )
        with server() as cluster:
            outcome = asyncio.run(measure_verification(cluster, settings))
    screen = console()
    screen.print(service_report.verify_table(outcome))
    for line in service_report.verify_notes(outcome):
        screen.print(line, style="dim")
    if options.json:
        service_report.write_json(options.json, verified=outcome)
    if outcome.unpredicted:
        screen.print(f"DEFECT: {outcome.unpredicted} not predicted", style="bold red")
    return 1 if outcome.unpredicted else 0


def _predict(options: argparse.Namespace) -> int:
    with _testbed() as server:
        from sim.testbed import service_report
        from sim.testbed.service_predict import predict
        from sim.testbed.service_restart import RestartSettings, measure_restart, variants

        known = {variant.name: variant for variant in variants()}
        if unknown := [name for name in options.only if name not in known]:
            names = ", ".join(map(repr, known))
            raise InputError(f"--only {unknown[0]!r}: the policies are {names}")
        settings = replace(RestartSettings(), phase_s=options.phase_s)
        predicted = []
        with server() as cluster:
            for name in options.only or known:
                moments, history = asyncio.run(measure_restart(cluster, known[name], settings))
                predicted.append(
                    predict(known[name], moments, history, settings, workers=options.workers)
                )
    screen = console()
    screen.print(service_report.predict_table(predicted))
    screen.print(
        "the key set (/.well-known/jwks.json) is not simulated: callers ask for one key at a time",
        style="dim",
    )
    if options.json:
        service_report.write_json(options.json, predicted=predicted)
    return 0 if all(each.agrees for each in predicted) else 1


def _kill(options: argparse.Namespace) -> int:
    with _testbed() as server:
        from sim.testbed import service_report
        from sim.testbed.service_kill import KillSettings, kill_in_an_outage

        settings = KillSettings(rotation_interval_s=options.rotation_s, intervals=options.intervals)
        with server() as cluster:
            outcomes = [
                asyncio.run(kill_in_an_outage(cluster, settings, journal=journal))
                for journal in (True, False)
            ]
    console().print(service_report.kill_table(outcomes))
    if options.json:
        service_report.write_json(options.json, killed=outcomes)
    return 0 if all(each.is_as_predicted for each in outcomes) else 1


@contextmanager
def _testbed() -> Iterator[Callable[[], Cluster]]:
    """Yield what makes a server; tell what the testbed lacks or finds wrong in one line."""
    try:
        from sim.testbed.binaries import TestbedError
        from sim.testbed.cluster import Cluster
        from sim.testbed.service_site import CLUSTER_SETTINGS
    except ModuleNotFoundError as error:
        raise InputError(f"{error}: install the extras service and testbed") from error
    try:
        yield lambda: Cluster(settings=CLUSTER_SETTINGS)
    except (TestbedError, FtrepoError) as error:
        raise InputError(str(error)) from error
