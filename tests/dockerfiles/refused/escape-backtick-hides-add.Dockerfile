# escape=`
FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
RUN dir C:\
ADD http://example.test/x C:\
ADD ht`
tp://example.test/y /
