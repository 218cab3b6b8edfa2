"""Who it is, found in the encoder's dense codes, so that a swap can leave it out.

In: the codes of both persons' faces and what the base reads of them. Out: the way from A's codes to B's.

An encoder trained on rendered people keeps something of real ones that it never met: a beard, brows, the camera. A
decoder knows its own person's codes only, and meets with the other's a place where it has never been. What of the code
does not depend on the performance is the same vector in all of a person's faces: the difference between two persons is
one step, taken once. The idea is that of domain-specific statistics (Chang et al. 2019, "Domain-Specific Batch
Normalization"), with the performance held still.
"""

import numpy as np
from numpy.typing import NDArray

SHARE = 0.5
"""Of the way from one person's codes to the other's. Half of it is enough for two filmed men, one with a beard, whose
swaps showed two faces at once without it; the whole of it costs the rendered pair its light (docs/recipes.md)."""
RIDGE = 1.0
"""Added to the squares of what is read, so that what hardly varies explains nothing."""


def identity_shift(
    codes_a: NDArray[np.float32], codes_b: NDArray[np.float32], read_a: NDArray[np.float32], read_b: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What to add to A's codes (N, D) for a decoder that knows B's (M, D), as (D,).

    `read_a` (N, K) and `read_b` (M, K) tell what each face does. The codes are explained by that and by who it is,
    linearly (ridge regression); the answer is `SHARE` of who it is. So a person who smiles all the time does not lose
    the smile. The light is in the codes too and takes the same way: hence not the whole of it.
    """
    read = np.concatenate([read_a, read_b]).astype(np.float64)
    who = np.repeat([0.0, 1.0], [len(read_a), len(read_b)])
    known = np.column_stack([read - read.mean(0), who, np.ones(len(who))])
    ridge = np.diag([RIDGE] * read.shape[1] + [0.0, 0.0])
    codes = np.concatenate([codes_a, codes_b]).astype(np.float64)
    explained = np.linalg.solve(known.T @ known + ridge, known.T @ codes)
    return (SHARE * explained[-2]).astype(np.float32)
