# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Registries for tests, on loopback. Who loads this (beside helpers) calls registry_setup in its setup, and stop_servers in its
# teardown.

# A home without anybody's credentials and certificates.
registry_setup()
{
	export HOME=$TEST_DIR/home XDG_RUNTIME_DIR=$TEST_DIR/run
	unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_CONFIG_HOME http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
	mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
	servers=()
}

stop_servers()
{
	local pid

	for pid in "${servers[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}

free_port()
{
	local port

	while port=$((20000 + RANDOM % 20000)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

# start_registry [tls] [password]: Debian's docker-registry; sets `registry`, HOST:PORT. The password is user:secret.
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
		# bcrypt, as the registry wants it
		# shellcheck disable=SC2016
		echo 'user:$2y$05$H2BgscehYjU70xtkoIRZhenqdZPL/ef5V248Xns39ur7RQQ./.6cu' >"$TEST_DIR/htpasswd"
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
