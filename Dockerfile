# One image for every process: controller, broker, portal and the resolver sidecar.
# BASE is any Debian-like image with Python 3.11 or newer, its venv module and pip.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN python3 -m venv /opt/cube-oauth
COPY requirements.txt /tmp/requirements.txt
RUN /opt/cube-oauth/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r /tmp/requirements.txt
COPY operator/cube_oauth /tmp/operator/cube_oauth
RUN site="$(/opt/cube-oauth/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && cp -r /tmp/operator/cube_oauth "$site/" \
 && printf '#!/bin/sh\nexec /opt/cube-oauth/bin/python -m cube_oauth "$@"\n' > /opt/cube-oauth/bin/cube-oauth \
 && chmod 0755 /opt/cube-oauth/bin/cube-oauth \
 && /opt/cube-oauth/bin/python -m compileall -q "$site"

FROM ${BASE}
LABEL org.opencontainers.image.title="cube-oauth-operator" \
      org.opencontainers.image.description="Per-user OAuth for self-hosted Cube on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/cube-oauth /opt/cube-oauth
# LOGNAME: kopf asks for the name of its user, and an arbitrary UID has none
ENV PATH=/opt/cube-oauth/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOGNAME=cube-oauth
USER 65532:65532
ENTRYPOINT ["cube-oauth"]
