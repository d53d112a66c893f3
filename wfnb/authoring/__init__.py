"""Writing workflows: decorators, tracing, checks, fingerprints, what travels to workers. Imports model only."""
