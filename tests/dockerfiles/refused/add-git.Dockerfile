FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ADD git://example.test/tool.git /opt/tool
ADD git@example.test:acme/tool.git /opt/tool
ADD ssh://git@example.test/acme/tool.git /opt/tool
ADD https://example.test/acme/tool.git#main /opt/tool
ADD deploy@example.test:tool /opt/tool
ADD github.com/acme/tool /opt/tool
