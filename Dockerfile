# The control plane with its agent. Postgres comes from docker-compose.yml; the engine's socket is mounted.
# Builds with the classic builder: no BuildKit features.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

WORKDIR /opt/tutela
# Dependencies first: they change less often than the code. Wheels in wheelhouse/ make the build work offline:
# docker build --build-arg PIP_NO_INDEX=1 .
ARG PIP_NO_INDEX=
COPY requirements/run.txt wheelhouse* requirements/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --find-links requirements -r requirements/run.txt

COPY alembic alembic
COPY domain domain
COPY orchestrator orchestrator
COPY agents agents
COPY app app
# The command line, for `docker-compose exec tutela tutela ...`.
RUN printf '#!/bin/sh\nexec python3 -P -m app.cli "$@"\n' >/usr/local/bin/tutela && chmod 755 /usr/local/bin/tutela

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/tutela \
    TUTELA_STATE_DIR=/var/lib/tutela \
    TUTELA_HOST=0.0.0.0 \
    TUTELA_INSECURE_HTTP=true
VOLUME /var/lib/tutela
EXPOSE 8800 8801
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD \
    ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8800/health', timeout=2)"]
CMD ["python3", "-m", "app.serve"]
