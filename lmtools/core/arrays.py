"""Types of arrays that signatures share; shapes stand in the docstrings of the functions."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Double-precision numbers."""
