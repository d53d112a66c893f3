"""Driving: clusters, the driver that turns commands into Dask tasks, and the worker that runs bundles.

Imports engine, store, authoring's code packing and model; Dask itself only in the modules that talk to it.
"""
