"""Keeping: the store contract, its adapters, and the encoding of values. Imports model only."""
