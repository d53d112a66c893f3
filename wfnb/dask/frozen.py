"""Imported last by the process that local workers are forked from: garbage collectors leave alone what it has loaded.

All of it stays. A full round over it takes 80 ms, in the middle of somebody's run, and would write to memory that the
processes share.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
