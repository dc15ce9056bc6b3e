# One instance of Exeat, its data in the volume /data.
#
#   docker build -t exeat . && docker run --rm exeat version
#
# docker-compose.yml starts it with the right ports and limits.

FROM golang:1.26-alpine AS build
# SQLite is C.
RUN apk add --no-cache gcc musl-dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=1 go build -trimpath -buildvcs=false \
	-tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags "-static"' \
	-o /exeat ./cmd/exeat

FROM alpine:3
# No shell account, no home; a new volume takes over the owner of /data.
RUN adduser -S -D -H -u 10001 exeat && install -d -o exeat -m 0700 /data
COPY --from=build /exeat /usr/local/bin/exeat
COPY LICENSE /usr/share/licenses/exeat/LICENSE
USER 10001
VOLUME /data

# Inside the container every interface; who may reach them is decided where
# the ports are published.
ENV EXEAT_DATA=/data \
	EXEAT_PROXY_LISTEN=0.0.0.0:7180 \
	EXEAT_WEB_LISTEN=0.0.0.0:7181
EXPOSE 7180 7181

HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
	CMD wget -q -O /dev/null http://127.0.0.1:7181/healthz || exit 1

ENTRYPOINT ["exeat"]
CMD ["serve"]
