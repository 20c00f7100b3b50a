"""Encryption and identity: settings with libpq's names, made into what the driver takes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from ftrepo.errors import PolicyError

TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
"""As `sslmode` of libpq. Only the last two know whom they talk to, only the last one its name."""

_VERIFYING = ("verify-ca", "verify-full")
_CERTAIN = ("require", *_VERIFYING)


def check_tls(
    mode: TlsMode | None,
    *,
    ca_file: str | None,
    certificate_file: str | None,
    key_file: str | None,
) -> None:
    """Refuse settings that contradict each other or would silently do nothing.

    Raises:
        PolicyError: a file would not be read, or one of a pair is missing. It names the setting.
    """
    if ca_file is not None and mode not in _VERIFYING:
        raise PolicyError(
            f'tls_ca_file is read with tls = "verify-ca" or "verify-full" only, not {_shown(mode)}'
        )
    if certificate_file is not None and mode not in _CERTAIN:
        raise PolicyError(
            'tls_certificate_file is read with tls = "require", "verify-ca" or "verify-full" '
            f"only, not {_shown(mode)}"
        )
    if key_file is not None and certificate_file is None:
        raise PolicyError("tls_key_file is of no use without tls_certificate_file")


def tls_argument(
    mode: TlsMode | None,
    *,
    ca_file: str | None,
    certificate_file: str | None,
    key_file: str | None,
) -> ssl.SSLContext | str | None:
    """Return the driver's `ssl` argument: a context, the name of a mode, or `None` for the DSN's.

    Reads the files, so it blocks: once for each pool, not for each connection.

    Raises:
        PolicyError: a file is missing or holds something else. The message names the setting.
    """
    if mode is None or mode not in _CERTAIN:
        return mode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if mode in _VERIFYING else ssl.CERT_NONE
    if ca_file is not None:
        _read("tls_ca_file", ca_file, lambda: context.load_verify_locations(cafile=ca_file))
    elif mode in _VERIFYING:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if certificate_file is not None:
        name = "tls_certificate_file" if key_file is None else "tls_certificate_file, tls_key_file"
        # An encrypted key would make OpenSSL ask at the terminal; no password is an error instead.
        _read(
            name,
            certificate_file,
            lambda: context.load_cert_chain(certificate_file, key_file, password=_no_password),
        )
    return context


def _no_password() -> str:
    raise PolicyError("tls_key_file is encrypted; give one that is not, readable by its owner only")


def _read(setting: str, path: str, load: object) -> None:
    assert callable(load)
    try:
        load()
    except ssl.SSLError as error:
        reason = error.reason or "no certificate or key in it"
        raise PolicyError(f"{setting}: {path!r} cannot be used: {reason}") from error
    except OSError as error:
        shown = path if error.filename is None else str(Path(error.filename))
        raise PolicyError(f"{setting}: {shown!r} cannot be read: {error.strerror}") from error


def _shown(mode: TlsMode | None) -> str:
    return "without tls" if mode is None else f'"{mode}"'
