"""Device hours in words."""

from __future__ import annotations

WHOLE = 100
"""Hours from which on a fraction of one says nothing."""


def hours_text(hours: float) -> str:
    """`0.0167`, `12.5`, `1,234`: three digits, or whole hours."""
    return f"{hours:,.0f}" if hours >= WHOLE else f"{hours:.3g}"
