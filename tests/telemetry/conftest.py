"""What tests of the sample tables share."""

from collections.abc import Iterator

import pytest
from django.db import connection


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    """What is committed is cleared away; Django itself does not know the sample tables."""
    yield
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE sample, sample_demo, sample_far, vector_sample, vector_sample_demo, vector_sample_far"
        )
