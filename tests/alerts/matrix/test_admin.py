"""The bot's people and rooms in the admin."""

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone

from alerts.matrix import registry
from alerts.models import MatrixCommand, MatrixPerson, MatrixRoom, MatrixStranger
from tests.factories import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(person("boss", superuser=True))
    return client


def test_a_person_is_entered_and_is_no_stranger_any_more(admin: Client) -> None:
    anna = person("anna", staff=False)
    MatrixStranger.objects.create(matrix_id="@anna:lab.test", told_at=timezone.now())
    form = {"matrix_id": "@anna:lab.test", "user": anna.pk}
    assert admin.post("/admin/alerts/matrixperson/add/", form).status_code == 302
    assert MatrixPerson.objects.get().user == anna
    assert not MatrixStranger.objects.exists()


@pytest.mark.parametrize("matrix_id", ["anna", "@anna", "anna:lab.test", "@anna:", "#a:lab.test", "@a b:c"])
def test_what_is_no_matrix_id_is_refused(admin: Client, matrix_id: str) -> None:
    form = {"matrix_id": matrix_id, "user": person("anna").pk}
    assert "A Matrix id, such as" in admin.post("/admin/alerts/matrixperson/add/", form).content.decode()
    assert not MatrixPerson.objects.exists()


@pytest.mark.parametrize("address", ["!abc:lab.test", "!aB-c_d", "#cellar:lab.test", "@anna:lab.test"])
def test_a_room_is_entered_by_id_name_or_person(admin: Client, address: str) -> None:
    form = {"address": address, "enabled": "on", "allow_control": "on"}
    assert admin.post("/admin/alerts/matrixroom/add/", form).status_code == 302
    room = MatrixRoom.objects.get()
    assert (room.address, room.allow_commands, room.allow_control) == (address, False, False)


def test_a_room_and_a_person_are_deleted(admin: Client) -> None:
    room = MatrixRoom.objects.create(address="!abc:lab.test")
    someone = MatrixPerson.objects.create(matrix_id="@anna:lab.test", user=person("anna"))
    for kind, row in (("matrixroom", room), ("matrixperson", someone)):
        assert admin.post(f"/admin/alerts/{kind}/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not MatrixRoom.objects.exists()
    assert not MatrixPerson.objects.exists()


def test_lists_and_commands_are_shown(admin: Client) -> None:
    someone = MatrixPerson.objects.create(matrix_id="@anna:lab.test", user=person("anna"))
    MatrixRoom.objects.create(address="!abc:lab.test", problem="the homeserver refuses")
    command = MatrixCommand.objects.create(
        event_id="$1", room_id="!abc:lab.test", sender="@anna:lab.test", user=someone.user, text="!who"
    )
    for kind in ("matrixperson", "matrixroom", "matrixcommand"):
        assert admin.get(f"/admin/alerts/{kind}/").status_code == 200
    assert "!who" in admin.get(f"/admin/alerts/matrixcommand/{command.pk}/change/").content.decode()
    assert admin.get("/admin/alerts/matrixcommand/add/").status_code == 403


def test_nobody_gives_rights_without_the_right_for_it() -> None:
    anna = person("anna", staff=False)
    with pytest.raises(PermissionDenied):
        registry.save_person(MatrixPerson(matrix_id="@anna:lab.test", user=anna), by=anna)
    with pytest.raises(PermissionDenied):
        registry.save_room(MatrixRoom(address="!abc:lab.test"), by=anna)
