FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ADD ht"tp://"example.test/x /opt/
ADD "http"'://'example.test/x /opt/
ADD "to ol" /opt/
