FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ADD tool.tar files/*.txt $HOME/
ADD ["a b", "/x"]
ADD <<EOF /motd
hello
EOF
