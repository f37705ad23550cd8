FROM registry.test:5000/base/python:3.12
