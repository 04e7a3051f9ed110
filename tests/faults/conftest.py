from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One laboratory for the tests of a module; each leaves it whole."""
    folder: Path = tmp_path_factory.mktemp("lab")
    with Lab(folder) as lab:
        yield lab
