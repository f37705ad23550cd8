# syntax=x
FROM python
ADD http://example.test/x /
RUN --mount=type=ssh --network=host true
ONBUILD RUN true
