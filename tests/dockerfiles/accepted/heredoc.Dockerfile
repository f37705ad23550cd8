FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
RUN <<EOF
set -e
echo hello
ADD http://example.test/only-text /
EOF
RUN python3 - <<"PY" > /out
from os import path
print(path)
PY
COPY <<-one <<two /etc/
	a
	one
b
two
RUN echo $((1<<3)) && cat <<< x
