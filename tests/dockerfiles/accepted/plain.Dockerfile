FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
WORKDIR /app
COPY --chown=1000:1000 --chmod=755 . .
RUN make install
USER 1000
ENV A=1 B="two words"
LABEL a=b
EXPOSE 80
VOLUME ["/data"]
HEALTHCHECK --interval=5s CMD true
STOPSIGNAL TERM
SHELL ["/bin/sh", "-c"]
MAINTAINER somebody
ENTRYPOINT ["/app/run"]
CMD ["--help"]
