"""The comparison itself: it says which field, and of whom."""

import pytest
from expectations import mistakes

DOCUMENT = {
    "paths": {"/things/{number}": {
        "get": {"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}}},
        "post": {
            "requestBody": {"content": {"application/json": {"schema": {
                "type": "object", "required": ["name"], "additionalProperties": False,
                "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}}}},
            "responses": {"201": {"description": "Made"}},
        },
    }},
    "components": {"schemas": {
        "Text": {"type": "string"},
        "Thing": {
            "type": "object", "required": ["name", "parts"],
            "properties": {
                "name": {"$ref": "#/components/schemas/Text"},
                "colour": {"type": "string"},
                "parts": {"type": "array", "items": {"type": "object", "required": ["weight"], "properties": {"weight": {"type": "integer"}}}},
            },
        },
    }},
}


def compare(operation="GET /things/{number}", request=None, **responses):
    expected = {"operation": operation, "responses": {status.lstrip("_"): fields for status, fields in responses.items()}}
    if request is not None:
        expected["request"] = request
    return mistakes("shop", "store", [expected], DOCUMENT)


def test_accepts_what_is_offered():
    assert compare(_200={"name": "string", "parts": [{"weight": "integer"}]}) == []
    assert compare("POST /things/{number}", {"name": "string", "size": "integer"}, _201={}) == []


@pytest.mark.parametrize(("fields", "reason"), [
    ({"title": "string"}, "expects field `title` in the 200 response of `GET /things/{number}` of store, which has `colour`, `name`, `parts`"),
    ({"colour": "string"}, "expects field `colour` in the 200 response of `GET /things/{number}` of store, where it may be absent"),
    ({"name": "integer"}, "expects field `name` in the 200 response of `GET /things/{number}` of store as integer, which is string"),
    ({"parts": [{"width": "integer"}]}, "expects field `parts[].width` in the 200 response of `GET /things/{number}` of store, which has `weight`"),
])
def test_names_the_field_of_a_response(fields, reason):
    assert compare(_200=fields) == [f"shop {reason}"]


@pytest.mark.parametrize(("fields", "reason"), [
    ({}, "sends no field `name` in the request of `POST /things/{number}` of store, which needs it"),
    ({"name": "string", "hue": "string"}, "sends field `hue` in the request of `POST /things/{number}` of store, which takes `name`, `size`"),
    ({"name": "integer"}, "sends field `name` as integer in the request of `POST /things/{number}` of store, which takes string"),
])
def test_names_the_field_of_a_request(fields, reason):
    assert compare("POST /things/{number}", fields, _201={}) == [f"shop {reason}"]


def test_names_operations_and_statuses():
    assert compare("PUT /things/{number}", _200={}) == ["shop calls `PUT /things/{number}`, which store does not offer"]
    assert compare(_404={}) == ["shop expects status 404 of `GET /things/{number}` of store, which has 200"]
