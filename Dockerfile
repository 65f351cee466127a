# Build: docker build -t tlsidecar:0.1.0 .
# Run:   docker run --read-only --tmpfs /run/tlsidecar:uid=65532,gid=65532,mode=0700 --cap-drop ALL \
#          --security-opt no-new-privileges -v ./tlsidecar:/etc/tlsidecar:ro -p 8443:8443 tlsidecar:0.1.0
#
# Releases set PYTHON_IMAGE to a digest. The OpenSSL that serves comes with the locked cryptography wheel, not with the
# base image: `tlsidecar status` shows its version.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The environment that is shipped has no pip: the tools that fill it live in one of their own.
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/tlsidecar
COPY locks/build.txt locks/image.txt locks/
RUN /opt/tools/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r locks/build.txt
RUN /opt/tools/bin/python -m pip --python /opt/tlsidecar/bin/python install --quiet \
    --require-hashes --only-binary :all: -r locks/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY certs certs
COPY tlsidecar tlsidecar
COPY tui tui
# A fixed date makes the wheel the same on every machine.
ARG SOURCE_DATE_EPOCH=1735689600
RUN SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} /opt/tools/bin/python -m pip wheel --quiet \
    --no-deps --no-build-isolation --wheel-dir dist .
RUN /opt/tools/bin/python -m pip --python /opt/tlsidecar/bin/python install --quiet --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tlsidecar" \
      org.opencontainers.image.description="Mutual TLS for a plaintext service on localhost" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# Safe path: a module in a writable working directory cannot take the place of one of ours.
ENV PATH=/opt/tlsidecar/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
COPY --from=build /opt/tlsidecar /opt/tlsidecar
# Where the admin socket goes (with --read-only, a tmpfs of this owner and mode), and where a local CA, renewed
# certificates and what a client is given may be kept: a new named volume takes owner and mode from here.
RUN install -d -m 0700 -o 65532 -g 65532 /run/tlsidecar /var/lib/tlsidecar /var/lib/clients
# A number, so that runAsNonRoot can be checked without reading /etc/passwd.
USER 65532:65532
WORKDIR /
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["tlsidecar", "health", "--live"]
# No shell stands between: signals reach the daemon, which is process 1.
ENTRYPOINT ["tlsidecar"]
CMD ["run"]
