# Two stages: a static binary, and nothing else in the image. Public roots are built into the binary; `outbound.ca_file` adds others.
# `.ci/image` builds and tries the same without a container engine.

# glibc, linked statically, and not musl, with which a large answer takes 4 to 9 % more CPU time (ARCHITECTURE.md). Names come from
# /etc/hosts and DNS without a library at run time since glibc 2.34; `.ci/image` tries that.
FROM rust:1.95-slim-bookworm AS build
# For profile-guided optimization. Without them release/build says so, and builds without.
RUN apt-get update && apt-get install -y --no-install-recommends lld nginx openssl python3 wrk && rustup component add llvm-tools \
 || echo "not all tools for optimization"
WORKDIR /src
# What .dockerignore lets through: not rust-toolchain.toml, since the image's compiler is the one, and developers' tools are not
# needed here.
COPY . .
# `require`: rather no image than one whose program is slower.
ARG PGO=auto
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN install -D -m 0755 "$(release/build)" /out/bearer-proxy \
 # The state folder, writable by the user that the image runs as: a volume that is mounted there inherits this.
 && install -d -m 0700 -o 65532 -g 65532 /out/state \
 # For `demo`, which keeps its grant there.
 && install -d -m 1777 /out/tmp

FROM scratch
COPY --from=build /out/bearer-proxy /bearer-proxy
COPY --from=build --chown=65532:65532 /out/state /var/lib/bearer-proxy
COPY --from=build /out/tmp /tmp
USER 65532:65532
EXPOSE 8080
VOLUME ["/var/lib/bearer-proxy"]
# No shell is needed: the program asks the one that runs beside it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["/bearer-proxy", "wait", "--timeout", "3s"]
ENTRYPOINT ["/bearer-proxy"]
CMD ["serve"]
