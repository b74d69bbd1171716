"""What every test runs under: one BLAS thread, Hypothesis profiles, and annotated shapes checked at run time."""

import os
import sys
from pathlib import Path

# More threads may add the same numbers in another order.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.shapes import check_shapes, shapes_unchecked

check_shapes()

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=20, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev"))


@pytest.fixture
def as_users_run_it():
    """Test what users see where a wrong type would trip over its annotation first."""
    with shapes_unchecked():
        yield


@pytest.fixture(scope="module")
def unchecked_for_speed():
    """Run a module of long simulations without the check of annotations; other modules check the same functions."""
    with shapes_unchecked():
        yield
