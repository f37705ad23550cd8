#!/usr/bin/env docker
# version=1 of syntax

# Étape : base
FROM registry.test:5000/base/python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
RUN a \
# between

  # more
  && b
  # indented
RUN c # syntax=x
# syntax=x
