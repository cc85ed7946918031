# amend without and with a GPU:
#
#   docker build -t amend .
#   docker build -t amend:vulkan --target vulkan .
#
# Both contain the portable build, which runs on every x86-64 CPU since about 2009.

FROM rust:1.95-slim-trixie AS source
WORKDIR /amend
# A layer of its own: it changes less often than the source.
COPY Cargo.toml ./
COPY examples/setup examples/
RUN examples/setup
COPY . .

FROM source AS build-cpu
RUN packaging/portable && cp -R target/portable/root /opt/amend

FROM source AS build-vulkan
RUN examples/setup libvulkan-dev glslc spirv-headers \
    && packaging/portable --features vulkan && cp -R target/portable/root /opt/amend

FROM debian:trixie-slim AS system
# The certificates are for downloads and for servers; libstdc++ is in the image already.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# Models of the Hugging Face Hub: mount a folder here to keep them.
ENV LLAMA_CACHE=/cache
RUN mkdir -m 1777 /cache
WORKDIR /data
ENTRYPOINT ["amend"]

FROM system AS vulkan
RUN apt-get update \
    && apt-get install -y --no-install-recommends libvulkan1 mesa-vulkan-drivers \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-vulkan /opt/amend /usr/local

FROM system AS cpu
COPY --from=build-cpu /opt/amend /usr/local
