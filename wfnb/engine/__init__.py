"""Thinking: plans, state, bundles and folds. Pure: no clock, no I/O, no user code; imports model only."""
