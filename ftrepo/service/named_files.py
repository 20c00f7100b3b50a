"""Looks at what the settings name on this machine, as `--check` does: the network is not asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ftrepo.postgres.binaries import find_binaries
from ftrepo.service.errors import ServiceSettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from ftrepo.service.settings import ProviderSettings, ServiceSettings


def check_named_files(settings: ServiceSettings) -> None:
    """Read the files that the settings name, but for the policy, and look for what is needed.

    A service would start without most of them, and say in its log and its health what is wrong.

    Raises:
        ServiceSettingsError: a provider's keys cannot be read, or none of them is usable.
        BinariesError: the database is to be its own, and there is no PostgreSQL.
    """
    if settings.dsn is None:
        find_binaries()
    for provider in settings.providers:
        if provider.jwks_file is not None:
            _check_keys(provider, provider.jwks_file)


def _check_keys(provider: ProviderSettings, file: Path) -> None:
    # It takes a while to load, and few need it.
    from ftrepo.service.providers.fetch_error import FetchError  # noqa: PLC0415
    from ftrepo.service.providers.jwks import parse_jwks  # noqa: PLC0415
    from ftrepo.service.providers.sources import JwksFile  # noqa: PLC0415

    try:
        parse_jwks(asyncio.run(JwksFile(file).read()).body, provider.algorithms)
    except FetchError as error:
        raise ServiceSettingsError(
            f"provider {provider.name!r}: jwks_file = {file}: {error}"
        ) from None
