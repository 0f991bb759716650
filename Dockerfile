# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/jetpost ./cmd/jetpost
# A volume takes over the owner of the folder it is mounted on.
RUN mkdir -p /out/data /out/keys

# Certificates, time zones and a user without rights; no shell.
FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/jetpost /usr/local/bin/jetpost
COPY --from=build --chown=nonroot:nonroot /out/data /data
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /out/keys /keys
ENV JETPOST_DATA=/data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/jetpost"]
CMD ["serve"]
