FROM scratch
COPY tool /tool
