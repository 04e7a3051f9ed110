"""How the API pages its lists: by cursors, so that no row is told twice or skipped while rows come in."""

from typing import Any

from rest_framework.pagination import CursorPagination


class Pages(CursorPagination):
    """Pages in the order that the view gives as `ordering`: a field, or several."""

    page_size = 100
    max_page_size = 1000
    page_size_query_param = "page_size"

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:  # noqa: ARG002
        ordering = getattr(view, "ordering", "pk")
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)
