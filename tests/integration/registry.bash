# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Registries for tests of images: Debian's docker-registry on loopback, and a server that is everything that a registry should not
# be (registry_server.py). For .bats files that load helpers and image.

servers=() registry=""

registry_setup()
{
	require_cmd umoci skopeo docker-registry openssl python3 jq
	hull_setup
	registry_home
	requests=$TEST_DIR/requests
	store=$TEST_DIR/store
	BUNDLE=$TEST_DIR/unpacked
}

# A home without anybody's credentials and certificates; no registry runs yet.
registry_home()
{
	export HOME=$TEST_DIR/home XDG_RUNTIME_DIR=$TEST_DIR/run
	unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_CONFIG_HOME http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
	mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
}

registry_teardown()
{
	stop_servers
	hull_teardown
}

stop_servers()
{
	local pid

	for pid in "${servers[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	servers=()
}

free_port()
{
	local port

	while port=$((20000 + RANDOM % 20000)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

# start_registry [tls] [clients] [password]: sets `registry`, HOST:PORT. clients: TLS with certificates of clients only, of the
# authority $TEST_DIR/certs/ca.crt. The password is user:secret.
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
		printf '  tls:\n    certificate: %s\n    key: %s\n' "$dir/ca.crt" "$dir/key.pem" >>"$config"
		[[ " $* " != *" clients "* ]] || printf '    clientcas: [%s]\n' "$dir/ca.crt" >>"$config"
		scheme=https
	fi
	if [[ " $* " == *" password "* ]]; then
		# bcrypt, as the registry wants it
		# shellcheck disable=SC2016
		echo 'user:$2y$05$H2BgscehYjU70xtkoIRZhenqdZPL/ef5V248Xns39ur7RQQ./.6cu' >"$TEST_DIR/htpasswd"
		printf 'auth: {htpasswd: {realm: test, path: %s}}\n' "$TEST_DIR/htpasswd" >>"$config"
	fi
	docker-registry serve "$config" >"$TEST_DIR/registry.log" 2>&1 3>&- 4>&- &
	servers+=($!)
	# Without a certificate there is no answer, but somebody who does not give one.
	wait_until 20 "curl -sk -o /dev/null --noproxy '*' $scheme://$registry/v2/; [ \$? = 0 -o \$? = 56 ]" ||
		fail "$(cat "$TEST_DIR/registry.log")"
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

# image COMMAND…: on the test's store.
image()
{
	local command=$1

	shift
	"$HULL" image "$command" --store "$store" "$@"
}

# hostile BEHAVIOUR: the image of the layout $TEST_DIR/image at `registry`, by a server that does that. Its requests are in
# $requests.
hostile()
{
	: >"$TEST_DIR/port"
	: >"$requests"
	python3 "$BATS_TEST_DIRNAME/registry_server.py" "$TEST_DIR/image" "$1" >"$TEST_DIR/port" 2>"$requests" 3>&- 4>&- &
	servers+=($!)
	wait_until 20 "[ -s '$TEST_DIR/port' ]"
	registry=localhost:$(cat "$TEST_DIR/port")
}

same_as_layout()
{
	[ -d "$TEST_DIR/theirs" ] || "$HULL" image unpack "oci:$TEST_DIR/image:latest" "$TEST_DIR/theirs"
	same_trees "$TEST_DIR/theirs/rootfs" "$BUNDLE/rootfs"
}

# make_layers N: the image $TEST_DIR/image of N layers that cannot be compressed, of 2 MB each.
make_layers()
{
	local i tars=()

	for ((i = 0; i < $1; i++)); do
		mkdir -p "$TEST_DIR/layer$i"
		head -c 2000000 /dev/urandom >"$TEST_DIR/layer$i/random$i"
		tar -C "$TEST_DIR/layer$i" -cf "$TEST_DIR/layer$i.tar" .
		tars+=("$TEST_DIR/layer$i.tar")
	done
	tar_image "$TEST_DIR/image" "gzip -n" "${tars[@]}"
}
