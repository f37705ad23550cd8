FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa AS one
COPY --from=two /a /b
COPY --from=1 /a /b
COPY --from=0 /a /b
COPY --from=00 /a /b
FROM scratch AS two
