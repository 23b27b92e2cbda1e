#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images from a registry: Debian's docker-registry on loopback, filled by skopeo, and a server that is everything that a registry
# should not be (registry_server.py).
# lab cgroups: none

load helpers
load image

setup()
{
	require_cmd umoci skopeo docker-registry openssl htpasswd python3 jq
	hull_setup
	export HOME=$TEST_DIR/home XDG_RUNTIME_DIR=$TEST_DIR/run
	unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_CONFIG_HOME http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
	mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
	servers=()
	make_image "$TEST_DIR/image"
	BUNDLE=$TEST_DIR/unpacked
}

teardown()
{
	local pid

	for pid in "${servers[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	hull_teardown
}

free_port()
{
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_registry [tls] [password]: sets `registry`, HOST:PORT.
start_registry()
{
	local port config=$TEST_DIR/registry.yml dir=$TEST_DIR/certs scheme=http

	port=$(free_port)
	registry=localhost:$port
	printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp:\n  addr: localhost:%s\n' \
		"$TEST_DIR/registry" "$port" >"$config"
	if [[ " $* " == *" tls "* ]]; then
		mkdir "$dir"
		openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/key.pem" -out "$dir/ca.crt" -days 2 \
			-subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
		printf '  tls: {certificate: %s, key: %s}\n' "$dir/ca.crt" "$dir/key.pem" >>"$config"
		scheme=https
	fi
	if [[ " $* " == *" password "* ]]; then
		htpasswd -Bbn user secret >"$TEST_DIR/htpasswd"
		printf 'auth: {htpasswd: {realm: test, path: %s}}\n' "$TEST_DIR/htpasswd" >>"$config"
	fi
	docker-registry serve "$config" >"$TEST_DIR/registry.log" 2>&1 3>&- 4>&- &
	servers+=($!)
	wait_until 20 "curl -sk -o /dev/null --noproxy '*' $scheme://$registry/v2/" || fail "$(cat "$TEST_DIR/registry.log")"
}

trust()
{
	mkdir -p "$HOME/.config/containers/certs.d/$registry"
	cp "$TEST_DIR/certs/ca.crt" "$HOME/.config/containers/certs.d/$registry/"
}

log_in()
{
	mkdir -p "$XDG_RUNTIME_DIR/containers"
	jq -n --arg h "$registry" --arg a "$(printf %s "$1" | base64)" '{auths: {($h): {auth: $a}}}' \
		>"$XDG_RUNTIME_DIR/containers/auth.json"
}

push()
{
	skopeo copy --quiet --insecure-policy --dest-tls-verify=false "$@" \
		"oci:$TEST_DIR/image:latest" "docker://$registry/group/image:latest"
}

unpack()
{
	"$HULL" image unpack "$@" "$BUNDLE"
}

same_as_layout()
{
	"$HULL" image unpack "oci:$TEST_DIR/image:latest" "$TEST_DIR/theirs"
	same_trees "$TEST_DIR/theirs/rootfs" "$BUNDLE/rootfs"
}

# bats test_tags=quick
@test "with TLS and a password: the tree is that of the layout" {
	start_registry tls password
	trust
	log_in user:secret
	push --dest-creds user:secret
	unpack "docker://$registry/group/image:latest"
	same_as_layout
}

@test "into the store, with TLS and a password: what is there needs no registry" {
	start_registry tls password
	trust
	log_in user:secret
	push --dest-creds user:secret
	"$HULL" image pull --store "$TEST_DIR/store" "docker://$registry/group/image:latest" mine
	kill "${servers[@]}"
	"$HULL" image verify --store "$TEST_DIR/store"
	"$HULL" image unpack --store "$TEST_DIR/store" mine "$BUNDLE"
	same_as_layout
}

@test "without credentials, with wrong ones, and an unknown certificate: the message says what to do" {
	start_registry tls password
	run unpack "docker://$registry/group/image"
	expect_error "certificate of .$registry. cannot be verified.*certs.d"
	trust
	run unpack "docker://$registry/group/image"
	expect_error "unauthorized.*log in"
	log_in user:wrongone
	run unpack "docker://$registry/group/image"
	expect_error "refuses the credentials of .*auth.json"
	expect_no_match wrongone
	[ ! -e "$BUNDLE" ]
}

@test "plain http only where it is asked for" {
	start_registry
	push
	run unpack "docker://$registry/group/image"
	expect_error "plain-http"
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
}

@test "Docker's media types, a digest, and what is not there" {
	start_registry
	push --format v2s2
	digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$registry/group/image:latest")
	unpack --plain-http "docker://$registry/group/image@$digest"
	same_as_layout
	rm -r "$BUNDLE"
	run unpack --plain-http "docker://$registry/group/image:nosuch"
	expect_error "no image .group/image. with the tag .nosuch."
	run unpack --plain-http "docker://$registry/group/image@sha256:$(printf '0%.0s' {1..64})"
	expect_error "with the digest"
	run unpack "docker://group/image"
	expect_error "name the registry's host"
	[ ! -e "$BUNDLE" ]
}

@test "nobody listens" {
	run unpack "docker://localhost:$(free_port)/group/image"
	expect_error "connect to .localhost"
}

# hostile BEHAVIOUR: the layout's image at `registry`, by a server that does that.
hostile()
{
	: >"$TEST_DIR/port"
	python3 "$BATS_TEST_DIRNAME/registry_server.py" "$TEST_DIR/image" "$1" >"$TEST_DIR/port" 2>"$TEST_DIR/requests" 3>&- 4>&- &
	servers+=($!)
	wait_until 20 "[ -s '$TEST_DIR/port' ]"
	registry=localhost:$(cat "$TEST_DIR/port")
}

@test "a connection that breaks is taken up where it broke" {
	hostile truncate
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	grep -q 'range=bytes=[1-9]' "$TEST_DIR/requests"
}

@test "a server that gives another range is refused" {
	hostile wrong-range
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "another part"
	[ ! -e "$BUNDLE" ]
}

@test "a server that is busy is asked again" {
	hostile busy
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
}

@test "a token is got, and goes to no other host" {
	hostile token
	log_in user:secret
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	grep -q 'elsewhere.*authorization=None' "$TEST_DIR/requests"
	! grep -q 'elsewhere.*authorization=[^N]' "$TEST_DIR/requests" || fail "$(cat "$TEST_DIR/requests")"
}

@test "hostile manifests and redirects are refused" {
	local behaviour

	for behaviour in self-index:digest wrong-digest:digest large-manifest:'more than' file-redirect:'not taken' \
		redirect-loop:redirects; do
		hostile "${behaviour%%:*}"
		run unpack --plain-http "docker://$registry/group/image"
		expect_error "${behaviour#*:}"
		expect_no_match $'\033'
		[ ! -e "$BUNDLE" ]
	done
}
