"""The log lines of requests that were refused or failed: one for each, but not too many.

A line names the request's id, endpoint and status, and the reason; never the path, a header or
anything of the body, which may hold a token or a secret.
"""

from __future__ import annotations

import logging

from ftrepo.failure_log import log_failure
from ftrepo.resilience import TokenBucket
from ftrepo.service.http.problems import Problem

LINES_PER_S = 10
"""Of one reason. In an outage thousands of requests a second may be refused; metrics count all."""

REASONS_MAX = 200
"""Reasons that have lines of their own. They are named in code, so there are fewer."""

_log = logging.getLogger(__name__)


class RefusalLog:
    """Logs problems: at level error what nobody foresaw, at warning 503, at info all else."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}
        self._suppressed: dict[str, int] = {}

    def __call__(
        self,
        problem: Problem,
        error: BaseException,
        *,
        request_id: str,
        endpoint: str,
        method: str,
        now_s: float,
    ) -> None:
        """Log a problem, or count it if its reason has had as many lines as it may.

        Args:
            problem: what is answered.
            error: where it came from; is logged only if nobody foresaw it.
            request_id: of the request.
            endpoint: its template, not its path.
            method: one that the service knows.
            now_s: the loop's time.
        """
        status, reason = problem.kind.status, problem.reason
        level = logging.INFO if status < 500 else logging.WARNING
        if status != 500 and not _log.isEnabledFor(level):
            return
        if not self._has_line(reason, now_s):
            self._suppressed[reason] = self._suppressed.get(reason, 0) + 1
            return
        suppressed = self._suppressed.pop(reason, 0)
        if status == 500:
            message = "request %s failed: %s %s (%s more since the last line)"
            log_failure(_log, message, request_id, method, endpoint, suppressed, error=error)
            return
        fields: dict[str, object] = {
            "request_id": request_id,
            "endpoint": endpoint,
            "method": method,
            "status": status,
            "reason": reason,
        }
        if suppressed:
            fields["suppressed"] = suppressed
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        _log.log(level, "RequestRefused %s", text, extra={"kind": "RequestRefused"} | fields)

    def _has_line(self, reason: str, now_s: float) -> bool:
        bucket = self._buckets.get(reason)
        if bucket is None:
            if len(self._buckets) >= REASONS_MAX:
                return False
            bucket = self._buckets[reason] = TokenBucket(LINES_PER_S, LINES_PER_S)
        return bucket.take(now_s)
