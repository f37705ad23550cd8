FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ARG WHERE=tool.tar
ADD $WHERE /opt/
ADD ${WHERE:-http://example.test/x} /opt/
