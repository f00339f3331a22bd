"""When a session at rest may leave memory. Pure."""

from __future__ import annotations

#: Sweeps are never closer together than this, seconds, so that a tiny time to live costs no busy loop.
MIN_SWEEP_INTERVAL = 0.05


def is_expired(rested: float, now: float, ttl: float) -> bool:
    """Whether a session at rest since `rested` has had its time."""
    return now - rested >= ttl


def sweep_delay(oldest: float, now: float, ttl: float) -> float:
    """How long to wait before the session that rests longest can be due; at most MIN_SWEEP_INTERVAL too long."""
    return max(oldest + ttl - now, MIN_SWEEP_INTERVAL)
