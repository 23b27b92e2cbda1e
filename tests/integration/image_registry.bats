#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Images from a registry: Debian's docker-registry on loopback, filled by skopeo, and a server that is everything that a registry
# should not be (registry_server.py).
# lab cgroups: none

# shellcheck disable=SC2154 # registry.bash sets them
load helpers
load image
load registry

setup()
{
	registry_setup
	make_image "$TEST_DIR/image"
}

teardown()
{
	registry_teardown
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

# A credential helper `docker-credential-fake` that knows HOST, and fails for `broken`.
make_helper()
{
	mkdir -p "$TEST_DIR/bin"
	cat >"$TEST_DIR/bin/docker-credential-fake" <<-EOF
		#!/bin/sh
		read -r host
		echo "\$1 \$host" >>"$TEST_DIR/asked"
		case \$host in
		$registry) printf '{"ServerURL": "%s", "Username": "user", "Secret": "secret"}' "\$host" ;;
		*) echo 'credentials not found in native keychain'; exit 1 ;;
		esac
	EOF
	printf '#!/bin/sh\necho "my secret"; exit 3\n' >"$TEST_DIR/bin/docker-credential-broken"
	chmod 755 "$TEST_DIR/bin"/*
	PATH=$TEST_DIR/bin:$PATH
	mkdir -p "$HOME/.docker"
}

@test "a credential helper is asked for the host, or for all" {
	start_registry password
	push --dest-creds user:secret
	make_helper
	jq -n --arg h "$registry" '{credHelpers: {($h): "fake"}, auths: {($h): {auth: "d3Jvbmc6b25l"}}}' >"$HOME/.docker/config.json"
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	[ "$(sort -u "$TEST_DIR/asked")" = "get $registry" ]
	rm -r "$BUNDLE" "$TEST_DIR/asked"
	# An empty entry, as a tool leaves it that has put the secret into the store.
	jq -n --arg h "$registry" '{credsStore: "fake", auths: {($h): {}}}' >"$HOME/.docker/config.json"
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	rm -r "$BUNDLE"
	# An entry counts before the store of all.
	jq -n --arg h "$registry" '{credsStore: "fake", auths: {($h): {auth: "d3Jvbmc6b25l"}}}' >"$HOME/.docker/config.json"
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "refuses the credentials"
	jq -n '{credHelpers: {"other.example": "fake"}}' >"$HOME/.docker/config.json"
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "log in"
}

@test "a credential helper that has nothing, fails, or is not there" {
	start_registry password
	make_helper
	sed -i 's/localhost/elsewhere/' "$TEST_DIR/bin/docker-credential-fake"
	jq -n '{credsStore: "fake"}' >"$HOME/.docker/config.json"
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "log in"
	jq -n '{credsStore: "broken"}' >"$HOME/.docker/config.json"
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "docker-credential-broken. failed .exit status 3"
	expect_no_match "my secret"
	jq -n '{credsStore: "nosuch"}' >"$HOME/.docker/config.json"
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "run the credential helper .docker-credential-nosuch"
	jq -n '{credsStore: "../bin/fake"}' >"$HOME/.docker/config.json"
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "not a word"
}

@test "a registry that wants a certificate of its clients" {
	local dir

	start_registry tls clients
	trust
	dir=$HOME/.config/containers/certs.d/$registry
	run unpack "docker://$registry/group/image"
	expect_error "does not take who we are: .*certificate.*NAME.key in /etc/containers/certs.d/$registry"
	openssl req -newkey rsa:2048 -nodes -keyout "$dir/client.key" -subj /CN=client -out "$TEST_DIR/client.csr" 2>/dev/null
	openssl x509 -req -in "$TEST_DIR/client.csr" -CA "$TEST_DIR/certs/ca.crt" -CAkey "$TEST_DIR/certs/key.pem" -days 2 \
		-CAcreateserial -out "$dir/client.cert" 2>/dev/null
	push --dest-cert-dir "$dir"
	unpack "docker://$registry/group/image"
	same_as_layout
	rm "$dir/client.key"
	run unpack "docker://$registry/group/image"
	expect_error "the key of .client.cert"
}

@test "a token that expires between two blobs is got anew" {
	make_layers 4
	hostile expiring-token
	log_in user:secret
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	[ "$(grep -c '/token?' "$requests")" -ge 3 ]
}

@test "a server that says when to come back is not asked before" {
	local start=$SECONDS

	hostile later
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	[ $((SECONDS - start)) -ge 3 ]
}

@test "a server that is always busy is given up, after more and more time" {
	hostile always-busy
	run unpack --plain-http "docker://$registry/group/image"
	expect_error "given up after 5 attempts.*status 503"
	[ "$(grep -c manifests "$requests")" = 5 ]
	[ ! -e "$BUNDLE" ]
}

@test "indexes in indexes, for this machine, and unusual types of content" {
	local type

	hostile nested
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
	# One index after the other, and the manifest by its digest.
	[ "$(grep -c '/manifests/sha256:' "$requests")" = 2 ]
	! grep -q "$(printf '9%.0s' {1..64})" "$requests" || fail "$(cat "$requests")"
	for type in docker-list plain-type no-type; do
		rm -r "$BUNDLE"
		hostile $type
		unpack --plain-http "docker://$registry/group/image"
		same_as_layout
	done
}

@test "layers of zstd through a registry, and one of them twice" {
	start_registry
	mkdir "$TEST_DIR/layer"
	cp "$BATS_TEST_DIRNAME/registry.bash" "$TEST_DIR/layer/file"
	tar -C "$TEST_DIR/layer" -cf "$TEST_DIR/layer.tar" .
	tar_image "$TEST_DIR/image" "zstd -q" "$TEST_DIR/layer.tar" "$TEST_DIR/layer.tar"
	push
	unpack --plain-http "docker://$registry/group/image"
	same_as_layout
}

@test "two layers are fetched at once" {
	make_layers 4
	hostile together
	image pull --plain-http --no-layers "docker://$registry/group/image" mine
	image verify
	image unpack mine "$BUNDLE"
	same_as_layout
}
