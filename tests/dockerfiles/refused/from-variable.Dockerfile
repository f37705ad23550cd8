ARG TAG
FROM registry.test:5000/base/python:$TAG
