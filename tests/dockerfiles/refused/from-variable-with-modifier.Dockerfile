ARG BASE=registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
FROM ${BASE:-registry.test:5000/foreign/tool@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc}
FROM ${BASE+x}
