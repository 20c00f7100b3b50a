"""What holds for the use cases as a whole: what they depend on, and how they refuse."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import ftrepo.service.tokens

FOLDER = Path(ftrepo.service.tokens.__file__).parent
OUTSIDE = (
    "fastapi starlette uvicorn httpx2 asyncpg sqlalchemy prometheus_client jwt "
    "ftrepo.fault_tolerant ftrepo.postgres ftrepo.service.http ftrepo.service.providers"
)


def test_the_use_cases_know_neither_http_nor_a_database() -> None:
    """Nor that anything is fault-tolerant: to import them loads none of it."""
    code = f"""
import sys
loaded = set(sys.modules)
import ftrepo.service.tokens
print(*[name for name in {OUTSIDE.split()} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # `import ftrepo` itself names the repository in its public surface.
    assert set(found.stdout.split()) <= {"ftrepo.fault_tolerant"}
    imported = {
        node.module
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    assert not imported & set(OUTSIDE.split())


def test_every_refusal_can_be_said_in_oauth() -> None:
    """An error_description has neither quotes nor backslashes nor anything but ASCII (RFC 6749)."""
    messages = []
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(
                "(TokenRequest|InvalidToken|NoSigningKey)Error", getattr(node.func, "id", "")
            ):
                said = [n for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)]
                messages += [n.value for n in said if isinstance(n.value, str)]
    assert len(messages) > 20
    assert not [each for each in messages if not re.fullmatch(r"[ !#-\[\]-~]*", each)]


def test_every_reason_is_in_the_table() -> None:
    """And no other, so that an operator who meets one in a log or a metric finds it there."""
    found = {"malformed", "client-not-authenticated"}  # Those that the errors have by default.
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "reason":
                assert isinstance(node.value, ast.Constant), "a reason is never made from a request"
                found.add(str(node.value.value))
    _, text = str(ftrepo.service.tokens.__doc__).split("Why a request is refused")
    assert sorted(found) == sorted(re.findall(r"^`([a-z-]+)` ", text, re.MULTILINE))
