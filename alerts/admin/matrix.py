"""The admin of the Matrix bot: its people, its rooms, and the commands it was given."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from alerts.admin.base import Edited
from alerts.matrix import registry
from alerts.models import MatrixCommand, MatrixPerson, MatrixRoom
from devices.admin import ForStaff


@admin.register(MatrixPerson)
class MatrixPersonAdmin(Edited):
    offers = ("add", "change", "delete")
    list_display = ("matrix_id", "user", "created_at")
    list_select_related = ("user",)
    search_fields = ("matrix_id", "user__username")
    fields = ("matrix_id", "user")

    def save_whole(self, request: HttpRequest, obj: MatrixPerson, parts: list[Any] | None) -> None:  # noqa: ARG002
        registry.save_person(obj, by=request.user)

    def delete_one(self, request: HttpRequest, obj: MatrixPerson) -> None:
        registry.delete(obj, by=request.user)


@admin.register(MatrixRoom)
class MatrixRoomAdmin(Edited):
    offers = ("add", "change", "delete")
    list_display = ("address", "enabled", "allow_commands", "allow_control", "joined_at", "problem")
    list_filter = ("enabled", "allow_commands", "allow_control")
    search_fields = ("address",)
    fields = ("address", "enabled", "allow_commands", "allow_control", "room_id", "joined_at", "problem")
    readonly_fields = ("room_id", "joined_at", "problem")

    def save_whole(self, request: HttpRequest, obj: MatrixRoom, parts: list[Any] | None) -> None:  # noqa: ARG002
        registry.save_room(obj, by=request.user)

    def delete_one(self, request: HttpRequest, obj: MatrixRoom) -> None:
        registry.delete(obj, by=request.user)


@admin.register(MatrixCommand)
class MatrixCommandAdmin(ForStaff):
    list_display = ("seen_at", "sender", "user", "text", "outcome")
    list_filter = ("outcome",)
    list_select_related = ("user",)
    search_fields = ("sender", "text")
    fields = ("seen_at", "sender", "user", "room_id", "text", "outcome", "answer", "answered_at")
    readonly_fields = fields
