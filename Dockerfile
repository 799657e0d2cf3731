# Two stages: a static binary, and an image that holds nothing else. Public roots are built into the binary; `outbound.ca_file` adds
# others. `.ci/image` builds this file without a container engine and tests the result.

# The digest is that of the multi-architecture index. Change tag and digest together.
ARG BASE=rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082

# glibc, linked statically. With musl, a large response takes 4 to 9 % more CPU time (docs/decisions/static-glibc.md). Since 2.34, glibc reads
# /etc/hosts and DNS without a library at run time; `.ci/image` tests it.
FROM ${BASE} AS build
# Tools for profile-guided optimization. Without them release/build says so, and builds without.
RUN apt-get update && apt-get install -y --no-install-recommends lld nginx openssl python3 wrk && rustup component add llvm-tools \
 || echo "not all tools for optimization"
WORKDIR /src
# .dockerignore leaves out rust-toolchain.toml, which would make rustup download the toolchain of developers.
COPY . .
# `require` fails the build instead of producing a slower program.
ARG PGO=auto
ENV RUSTFLAGS="-C target-feature=+crt-static"
# The whole tree is made here and copied in one step. A builder that creates a missing parent directory gives it to root, mode 0755.
RUN install -D -m 0755 "$(release/build | tail -n 1)" /out/bearer-proxy \
 # The state directory belongs to the user of the image. A volume that is mounted there inherits this.
 && install -d -m 0755 /out/var /out/var/lib \
 && install -d -m 0700 -o 65532 -g 65532 /out/var/lib/bearer-proxy \
 # `demo` keeps its grant below /tmp.
 && install -d -m 1777 /out/tmp

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
# By default, glibc resends a lost DNS packet after 5 s, and a request waits for that.
ENV RES_OPTIONS="timeout:1 attempts:5"
EXPOSE 8080
VOLUME ["/var/lib/bearer-proxy"]
# The image has no shell, so the program itself asks the instance that runs.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["/bearer-proxy", "wait", "--timeout", "3s"]
ENTRYPOINT ["/bearer-proxy"]
CMD ["serve"]
