"""How long to wait before a failed request is sent again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 60.0  # seconds


def pause_before(attempt: int, first: float, retry_after: str | None, chance: float) -> float:
    """Seconds to wait after failed attempt ``attempt`` (from 0): what the service asked for, or back-off.

    Back-off is ``first`` * 2**attempt, of whose second half the share ``chance`` in [0, 1) is waited, so that
    clients which failed together do not come back together. Never more than ``LONGEST_PAUSE``.
    """
    wished = seconds(retry_after)
    if wished is not None:
        return min(wished, LONGEST_PAUSE)
    return float(min(first * 2**attempt, LONGEST_PAUSE) * (0.5 + 0.5 * chance))


def seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or an HTTP date, as seconds from now; None where it says nothing."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
