FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
RUN --mount=type=tmpfs,target=/tmp,size=1000000 --mount=type=bind,source=src,target=/src,readonly make -C /src
