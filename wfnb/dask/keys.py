"""The keys of the journal's entries about bundles. Imports nothing."""

from __future__ import annotations


def bundle_key(bundle: str, number: int) -> str:
    """Return the key of a bundle's entry.

    A bundle's entries are numbered without gaps, so that whoever writes the next number shuts out every other writer:
    a second execution of the bundle, or one the driver has given up.
    """
    return f"{bundle}.{number}"


def stop_key(bundle: str) -> str:
    """Return the key of the entry that tells a worker to stop a bundle."""
    return f"stop.{bundle}"


def hold_key(bundle: str) -> str:
    """Return the key of the entry that tells a worker to give a bundle back that it has not begun."""
    return f"hold.{bundle}"


def cancel_key(epoch: int) -> str:
    """Return the key of the entry that tells workers to stop all that the driver with that epoch has sent."""
    return f"cancelled.{epoch}"
