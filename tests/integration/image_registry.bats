#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images from a registry: Debian's docker-registry on loopback, filled by skopeo, and a server that is everything that a registry
# should not be (registry_server.py).
# lab cgroups: none

load helpers
load image
load registry

setup()
{
	require_cmd umoci skopeo docker-registry openssl python3 jq
	hull_setup
	registry=""
	registry_setup
	make_image "$TEST_DIR/image"
	BUNDLE=$TEST_DIR/unpacked
}

teardown()
{
	stop_servers
	hull_teardown
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
