package pkgspec

import (
	"regexp"
	"strings"
)

// containerFlags are the options of docker run and podman run that take no
// value; all others do, and there are over a hundred.
func containerFlags() options {
	return options{clustered: true, flags: set(`-d --detach -i --interactive -t --tty -P --publish-all -q --quiet -D --debug
		--rm --rmi --init --privileged --read-only --read-only-tmpfs --no-healthcheck --oom-kill-disable --sig-proxy
		--disable-content-trust --use-api-socket --help --tls --tlsverify --tls-verify --replace --env-host
		--http-proxy --no-hosts --no-hostname --passwd --unsetenv-all --remote -r --syslog --insecure-registry
		--experimental --debug-full`)}
}

// container reads "docker run" and "docker container run".
func container(args []string) (Spec, bool) {
	_, rest := containerFlags().split(args)
	if len(rest) > 0 && rest[0] == "container" {
		rest = rest[1:]
	}
	if len(rest) == 0 || rest[0] != "run" {
		return Spec{}, false
	}
	_, rest = containerFlags().split(rest[1:])
	if len(rest) == 0 {
		return Spec{}, false
	}
	return image(rest[0])
}

var (
	// imageName is a repository with an optional registry, after the grammar of
	// the distribution project.
	imageName = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*$`)
	imageTag  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digest    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// image reads a reference: repository, :tag, @digest. The digest wins, as it
// does for docker.
func image(ref string) (Spec, bool) {
	name, hash, hashed := strings.Cut(ref, "@")
	var tag string
	// A colon after the last slash begins a tag; before it, a port.
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
		if !imageTag.MatchString(tag) {
			return Spec{}, false
		}
	}
	if !imageName.MatchString(name) || (hashed && !digest.MatchString(hash)) {
		return Spec{}, false
	}
	if hashed {
		return Spec{Ecosystem: Docker, Name: name, Version: hash, Pinned: true}, true
	}
	return Spec{Ecosystem: Docker, Name: name, Version: tag}, true
}
