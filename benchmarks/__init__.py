"""Measurements of wfnb beside what a person would otherwise use; `python -m benchmarks` runs them."""
