# The operator's image: `make image`, with buildah or docker, for linux/amd64 and linux/arm64.
#
# The base images are arguments, for registries other than the public ones, and their digests, for builds that can be had again:
# with the same two digests the same commit makes the same binary. BUILD_IMAGE has Rust, make and a C compiler; RUNTIME_IMAGE the same
# C library (glibc of Debian 12 or later), libgcc_s, and the certificate authorities of the clouds.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BUILD_DIGEST=
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG RUNTIME_DIGEST=

FROM ${BUILD_IMAGE}${BUILD_DIGEST:+@${BUILD_DIGEST}} AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY benches benches
COPY simulator simulator
COPY src src
COPY tools/testbed tools/testbed
# Where cargo keeps its sources is a matter of the build image, and no part of the binary.
RUN RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --release --locked --package cross-region-backup-operator --bin cross-region-backup-operator

FROM ${RUNTIME_IMAGE}${RUNTIME_DIGEST:+@${RUNTIME_DIGEST}}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="cross-region-backup-operator" \
      org.opencontainers.image.description="Keeps the cross-region backup policy of managed Redis instances as declared" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /source/target/release/cross-region-backup-operator /usr/local/bin/
# By number, so that the kubelet can check runAsNonRoot.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/cross-region-backup-operator"]
CMD ["run"]
