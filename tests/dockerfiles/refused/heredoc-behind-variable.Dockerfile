FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
RUN cat ${X:-}<<EOF
ADD http://example.test/x /
EOF
