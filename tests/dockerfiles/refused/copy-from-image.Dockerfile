FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
COPY --from=example.test/tool:1 /bin/tool /bin/tool
COPY --from=registry.test:5000/foreign/tool@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc /a /b
