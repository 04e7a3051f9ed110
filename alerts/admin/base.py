"""What the admin's pages of rules, contacts and routes have in common."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from alerts.admin.forms import TRY, rows
from devices.admin import ForStaff


class Edited(ForStaff):
    """Rows that are saved as a whole, with those that belong to them, by one service."""

    def save_whole(self, request: HttpRequest, obj: Any, parts: list[Any] | None) -> None:
        """`parts`: all that are to belong to it; None if nothing does."""
        raise NotImplementedError

    def delete_one(self, request: HttpRequest, obj: Any) -> None:
        raise NotImplementedError

    def why_it_stays(self, obj: Any) -> str:  # noqa: ARG002 - for others to say
        """Why a row cannot be deleted; empty if it can."""
        return ""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Later, with what belongs to it."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: ARG002
        for formset in formsets:
            formset.save(commit=False)  # so that it can say what has changed
        parts = [part for formset in formsets for part in rows(formset)]
        self.save_whole(request, form.instance, parts if formsets else None)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_one(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_one(request, row)

    def get_deleted_objects(self, objs: Iterable[Model], request: HttpRequest) -> Any:  # noqa: ARG002
        """Without all that goes along, which may be much; the service says whether it may go."""
        chosen = list(objs)
        count = {str(self.model._meta.verbose_name_plural): len(chosen)}  # noqa: SLF001 - the admin's own way
        stays = [reason for each in chosen if (reason := self.why_it_stays(each))]
        return [str(each) for each in chosen], count, set(), stays


def is_tried(request: HttpRequest) -> bool:
    """Whether the button was pressed that tries in place of saving."""
    return request.method == "POST" and TRY in request.POST
