# The operator's image. The base images are arguments, for registries other than the public ones:
#   docker build --build-arg BUILD_IMAGE=… --build-arg RUNTIME_IMAGE=… .
# Both must have the same C library; the runtime image needs the certificate authorities of the clouds.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package cross-region-backup-operator --bin cross-region-backup-operator

FROM ${RUNTIME_IMAGE}
COPY --from=build /source/target/release/cross-region-backup-operator /usr/local/bin/
# By number, so that the kubelet can check runAsNonRoot.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/cross-region-backup-operator"]
CMD ["run"]
