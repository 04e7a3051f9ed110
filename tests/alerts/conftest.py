"""What tests of the doors share."""

import threading
from collections.abc import Iterator

import pytest

from tests.alerts.hook import Hook


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
