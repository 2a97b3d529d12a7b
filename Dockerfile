# syntax=docker/dockerfile:1
# One static binary and the certificates that it trusts; nothing else, not even a shell.
ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /build
# With glibc linked in, the binary needs nothing from the image that it ends up in.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# Dependencies first, from stand-ins for the sources: this layer changes only when the lock file does. Test and bench
# targets are not built, so their files may be missing as long as Cargo.toml names their paths.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs && cp src/main.rs src/build.rs \
    && cargo build --release --locked --bins --target "$(rustc --print host-tuple)"

COPY src src
COPY config config
ARG BUILD_REVISION=unknown
# The stand-ins are younger than the sources may be, and cargo goes by age.
RUN touch src/build.rs src/lib.rs src/main.rs \
    && BUILD_REVISION="${BUILD_REVISION}" cargo build --release --locked --bins --target "$(rustc --print host-tuple)" \
    && install -D "target/$(rustc --print host-tuple)/release/openai-cert-exporter" /image/openai-cert-exporter

FROM scratch
ARG BUILD_REVISION=unknown
ARG BUILD_VERSION=0.1.0
LABEL org.opencontainers.image.title="openai-cert-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the mutual-TLS certificates of an OpenAI organization" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${BUILD_VERSION}" \
      org.opencontainers.image.revision="${BUILD_REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /image/openai-cert-exporter /openai-cert-exporter
USER 65532:65532
EXPOSE 10099
ENTRYPOINT ["/openai-cert-exporter"]
