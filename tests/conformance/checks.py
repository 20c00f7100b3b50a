"""Every check, in the order in which they are told and printed."""

from __future__ import annotations

# Each module enters its checks as it is imported.
import tests.conformance.tripping  # isort: skip
import tests.conformance.rejecting  # isort: skip
import tests.conformance.probing  # isort: skip  # noqa: F401
from tests.conformance.site import CHECKS

__all__ = ["CHECKS"]
