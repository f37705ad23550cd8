FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
RUN --mount=from=example.test/x,target=/x true
RUN --mount=type=bind,from=registry.test:5000/foreign/tool@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc,target=/x true
