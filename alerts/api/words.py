"""What several parts of the API say in the same way."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from alerts.models import Priority


class PriorityField(serializers.ChoiceField):
    """`critical`, `high`, `medium` or `low`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[priority.name.lower() for priority in Priority], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return Priority[super().to_internal_value(data).upper()]

    def to_representation(self, value: Any) -> str:
        return Priority(value).name.lower()


class Username(serializers.SlugRelatedField):  # type: ignore[type-arg]
    """Who did it; null: nobody, or somebody who is gone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(slug_field="username", **kwargs)


def said(what: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The body of a request as `what` describes it. Raises ValidationError by field."""
    body = what(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)
