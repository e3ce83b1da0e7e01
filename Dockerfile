# Both services, from one build: `docker build --target auth-service .`, `docker build --target resource-service .`.
# Works with BuildKit and with the classic builder, which knows neither cache mounts nor `COPY --link`: the dependencies are a
# layer of their own, built from the manifests alone.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
ENV CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
COPY Cargo.toml Cargo.lock ./
COPY auth-client/Cargo.toml auth-client/
COPY auth-service/Cargo.toml auth-service/
COPY bench/Cargo.toml bench/
COPY local-stack/Cargo.toml local-stack/
COPY resource-service/Cargo.toml resource-service/
COPY service-shell/Cargo.toml service-shell/
COPY shared-claims/Cargo.toml shared-claims/
COPY test-support/Cargo.toml test-support/
# Crates with nothing in them, so that what is built are the dependencies.
RUN set -eu; \
    for manifest in */Cargo.toml; do \
        crate="${manifest%/Cargo.toml}"; mkdir -p "$crate/src"; \
        echo 'fn main() {}' > "$crate/src/main.rs"; : > "$crate/src/lib.rs"; \
    done; \
    mkdir -p shared-claims/benches; echo 'fn main() {}' > shared-claims/benches/tokens.rs; \
    cargo build --locked --release -p auth-service -p resource-service

COPY migrations migrations
COPY auth-client auth-client
COPY auth-service auth-service
COPY resource-service resource-service
COPY service-shell service-shell
COPY shared-claims shared-claims
COPY clients/js/tokenpair.js clients/js/
# cargo goes by times, and the files may be older than the empty crates.
RUN set -eu; \
    find auth-client auth-service resource-service service-shell shared-claims -name '*.rs' -exec touch {} +; \
    cargo build --locked --release -p auth-service -p resource-service; \
    mkdir -p /volumes/data /volumes/secrets; \
    chmod 0700 /volumes/data /volumes/secrets

# What both have in common. A new named volume takes over owner and mode of the folder that it is mounted on.
FROM ${RUNTIME_IMAGE} AS runtime
COPY --from=build --chown=65532:65532 /volumes/ /
# Where SQLite puts what does not fit into its memory: nothing else can be written.
ENV SQLITE_TMPDIR=/data
WORKDIR /data
USER 65532:65532

FROM runtime AS resource-service
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="resource-service" \
      org.opencontainers.image.description="Tokenpair: holds the data, and verifies access tokens by itself" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /src/target/release/resource-service /usr/local/bin/resource-service
ENV RESOURCE_LISTEN=0.0.0.0:8002 RESOURCE_DATABASE_URL=sqlite:///data/resource.db
EXPOSE 8002
VOLUME /data
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/usr/local/bin/resource-service", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/resource-service"]

FROM runtime AS auth-service
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="auth-service" \
      org.opencontainers.image.description="Tokenpair: knows the users, checks passwords, and issues access and refresh tokens" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /src/target/release/auth-service /usr/local/bin/auth-service
ENV AUTH_LISTEN=0.0.0.0:8001 AUTH_DATABASE_URL=sqlite:///data/auth.db
EXPOSE 8001
VOLUME /data
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["/usr/local/bin/auth-service", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/auth-service"]
