# One image, three programs: /balancer, /pingserver and /client.
#
# The build needs nothing but a Go toolchain: no shell, hence RUN as a list. So
# where no registry can be reached, an image made of a machine's own Go will do:
#   docker build --build-arg GO_IMAGE=$(./integration/goimage) -t udplab .
ARG GO_IMAGE=golang:1.26-alpine

FROM ${GO_IMAGE} AS build
ENV CGO_ENABLED=0 GOWORK=off
# Docker makes this directory; it stays empty and becomes the image's /state.
WORKDIR /state
WORKDIR /src

# The modules are downloaded again only when a list of them changes.
COPY services/kit/go.* services/kit/
COPY services/balancer/go.* services/balancer/
COPY services/pingserver/go.* services/pingserver/
COPY services/client/go.* services/client/
RUN ["go", "-C", "services/balancer", "mod", "download"]
RUN ["go", "-C", "services/pingserver", "mod", "download"]
RUN ["go", "-C", "services/client", "mod", "download"]

COPY services services
RUN ["go", "-C", "services/balancer", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/", "."]
RUN ["go", "-C", "services/pingserver", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/", "."]
RUN ["go", "-C", "services/client", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/", "."]

FROM scratch
LABEL org.opencontainers.image.title="udplab" \
      org.opencontainers.image.description="A UDP load balancer one can watch, its ping servers and its client" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/ /
# Where the balancer keeps whose turn it is. A volume takes over its owner.
COPY --from=build --chown=65532:65532 /state /state
USER 65532:65532
# The page is published by Docker, which cannot reach a listener on localhost.
ENV BALANCER_HTTP=:8080
EXPOSE 8888/udp 8080/tcp 2526/udp
CMD ["/balancer"]
