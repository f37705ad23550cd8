#!/usr/bin/env docker
{"Syntax": "example.test/frontend"}
