"""How are hours and seconds written for people?"""

from __future__ import annotations


def hours(value: float) -> str:
    """Hours as people say them: 7.1 h, 25 min, 1.8 s."""
    if value >= 1:
        return f"{three_digits(value)} h"
    return f"{value * 60:.3g} min" if value * 60 >= 1 else f"{value * 3600:.3g} s"


def three_digits(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def stopwatch(seconds: float) -> str:
    """Seconds as a stop-watch shows them: 0:07, 12:40, 3:05:00."""
    minutes, rest = divmod(int(seconds), 60)
    whole, minutes = divmod(minutes, 60)
    return f"{whole}:{minutes:02d}:{rest:02d}" if whole else f"{minutes}:{rest:02d}"
