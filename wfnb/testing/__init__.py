"""Tests that other packages run on their own adapters. Imports pytest and what is tested."""
