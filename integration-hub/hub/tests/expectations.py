"""Compares what a consumer expects with what a provider's OpenAPI document offers.

An expectation names an operation, and of its request and its responses the fields that the consumer
uses: `{"gross": "string", "lines": [{"text": "string"}]}`. A field is offered when the document says
that it is always there and has this type. What else the document offers is none of the consumer's business.
"""


def mistakes(consumer, provider, expectations, document):
    """Returns every way in which the document does not offer what is expected, as sentences."""
    found = []
    for expected in expectations:
        method, path = expected["operation"].split(" ")
        operation = document.get("paths", {}).get(path, {}).get(method.lower())
        if operation is None:
            found.append(f"{consumer} calls `{expected['operation']}`, which {provider} does not offer")
            continue
        where = f"`{expected['operation']}` of {provider}"
        if "request" in expected:
            schema = body_schema(resolve(operation.get("requestBody", {}), document), document)
            found += request_mistakes(consumer, where, expected["request"], schema, document)
        for status, fields in expected["responses"].items():
            response = operation.get("responses", {}).get(status)
            if response is None:
                found.append(f"{consumer} expects status {status} of {where}, which has {', '.join(sorted(operation['responses']))}")
                continue
            schema = body_schema(resolve(response, document), document)
            found += response_mistakes(consumer, f"the {status} response of {where}", fields, schema, document)
    return found


def request_mistakes(consumer, where, fields, schema, document):
    properties = schema.get("properties", {})
    found = [
        f"{consumer} sends no field `{name}` in the request of {where}, which needs it"
        for name in schema.get("required", []) if name not in fields
    ]
    for name, kind in fields.items():
        if name in properties:
            offered = resolve(properties[name], document).get("type")
            if offered != kind:
                found.append(f"{consumer} sends field `{name}` as {kind} in the request of {where}, which takes {offered}")
        elif schema.get("additionalProperties") is False or not properties:
            found.append(f"{consumer} sends field `{name}` in the request of {where}, which takes {listed(properties)}")
    return found


def response_mistakes(consumer, where, fields, schema, document, prefix=""):
    found = []
    properties, required = schema.get("properties", {}), schema.get("required", [])
    for name, kind in fields.items():
        field = f"{prefix}{name}"
        if name not in properties:
            found.append(f"{consumer} expects field `{field}` in {where}, which has {listed(properties)}")
            continue
        if name not in required:
            found.append(f"{consumer} expects field `{field}` in {where}, where it may be absent")
        offered = resolve(properties[name], document)
        wanted = {list: "array", dict: "object"}.get(type(kind), kind)
        if offered.get("type") != wanted:
            found.append(f"{consumer} expects field `{field}` in {where} as {wanted}, which is {offered.get('type')}")
        elif isinstance(kind, dict):
            found += response_mistakes(consumer, where, kind, offered, document, f"{field}.")
        elif isinstance(kind, list):
            found += response_mistakes(consumer, where, kind[0], resolve(offered.get("items", {}), document), document, f"{field}[].")
    return found


def body_schema(body, document):
    return resolve(body.get("content", {}).get("application/json", {}).get("schema", {}), document)


def resolve(node, document):
    """Follows `$ref` within the document; a chain that does not end is an error."""
    for _ in range(16):
        if "$ref" not in node:
            return node
        place = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]
        node = place
    raise ValueError(f"$ref goes round in circles at {node['$ref']}")


def listed(names):
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
