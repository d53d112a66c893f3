"""The fault suite: seeded schedules of kills against real processes, and what must hold after each."""
