# smolwatch in a container: docs/docker.md. For amd64 and arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=0.1.0 -t smolwatch .
# With CUDA (PyPI's torch for Linux brings it; gigabytes):
#   docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t smolwatch:cuda .

FROM debian:bookworm-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=2.13.0
# There is no .git here to take the version from.
ARG VERSION=0.1.0.dev0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Debian's stable release pins these, and brings their security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/smolwatch
# By itself and first: the largest part, and the one that changes least.
RUN /opt/smolwatch/bin/pip install --no-cache-dir \
    --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple "torch==$TORCH"
WORKDIR /src
COPY . .
RUN SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION" \
    /opt/smolwatch/bin/pip install --no-cache-dir -c constraints.txt . \
    && /opt/smolwatch/bin/smolwatch --version

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="smolwatch" \
      org.opencontainers.image.description="Understands what happens before your cameras, on the device" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 8642 smolwatch \
    && useradd --uid 8642 --gid smolwatch --home-dir /var/lib/smolwatch --shell /usr/sbin/nologin smolwatch \
    && install -d -o smolwatch -g smolwatch -m 0750 \
       /var/lib/smolwatch /var/cache/smolwatch /run/smolwatch \
    && install -d -m 0755 /etc/smolwatch
COPY --from=build /opt/smolwatch /opt/smolwatch
# As systemd/smolwatch.service has them; a mounted secret is {NAME} with NAME_FILE=/run/secrets/...
ENV STATE_DIRECTORY=/var/lib/smolwatch \
    CACHE_DIRECTORY=/var/cache/smolwatch \
    RUNTIME_DIRECTORY=/run/smolwatch \
    HF_HOME=/var/cache/smolwatch/huggingface \
    HF_HUB_DISABLE_TELEMETRY=1 \
    XDG_CACHE_HOME=/var/cache/smolwatch \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/smolwatch/inductor \
    TRITON_CACHE_DIR=/var/cache/smolwatch/triton \
    CUDA_CACHE_PATH=/var/cache/smolwatch/cuda \
    PYTHONFAULTHANDLER=1
USER 8642:8642
WORKDIR /var/lib/smolwatch
VOLUME ["/var/lib/smolwatch", "/var/cache/smolwatch"]
# The whole of it: a camera, the model or the publisher that is stuck answers 503 (docs/monitoring.md).
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m --retries=3 \
    CMD ["/opt/smolwatch/bin/python", "-m", "daemon.healthcheck"]
ENTRYPOINT ["/opt/smolwatch/bin/smolwatch"]
CMD ["run", "-c", "/etc/smolwatch/smolwatch.yaml"]
