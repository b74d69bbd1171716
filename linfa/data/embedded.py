"""The handwritten digits that scikit-learn carries: real data without a download."""

from __future__ import annotations

import numpy as np

from linfa.data.sets import Images
from linfa.errors import missing_extra

TEST = 360
"""How many of the 1797 digits, the last ones, are for testing."""


def digits() -> Images:
    """Return 1437 training and 360 test images of 8 × 8 with grey levels 0…16, in scikit-learn's order.

    The split is by position, never shuffled. Neighbours in that order share a writer, so the last fifth is
    harder than a random fifth: a linear discriminant gets 90 % of it right, and 95 % of a random one.

    Returns:
        `Images` of shapes (1437, 1, 8, 8), (1437,), (360, 1, 8, 8), (360,), all uint8.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    >>> [int(labels.sum()) for labels in (digits().train_labels, digits().test_labels)]
    [6449, 1621]

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; through scikit-learn.

    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise missing_extra("scikit-learn", "data", "for its embedded digits") from error
    bunch = load_digits()
    images, labels = bunch.images[:, None].astype(np.uint8), bunch.target.astype(np.uint8)
    return Images(images[:-TEST], labels[:-TEST], images[-TEST:], labels[-TEST:])
