"""Names that workpool has not: they are loaded when first used, and known all the same."""

from __future__ import annotations

import workpool
from workpool import Pol  # E

workpool.Pool()
workpool.Pol()  # E
workpool.Thread  # E
workpool.pool.Pol  # E
del Pol
