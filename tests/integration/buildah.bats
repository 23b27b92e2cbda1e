#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull as the runtime of a real buildah, as root and as an ordinary user: an image from scratch with busybox, whose RUN
# lines are containers of hull's; no network.

load helpers
load engines

setup()
{
	require_root
	require_cmd buildah
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/t.XXXXXX")
	chmod 711 "$TEST_DIR"
	ENGINE=$TEST_DIR/engine
	ID=ht-$$-$BATS_TEST_NUMBER-$RANDOM
	mkdir "$TEST_DIR/context"
	cp -a "$(cached_rootfs)" "$TEST_DIR/context/rootfs"
	cat >"$TEST_DIR/context/Containerfile" <<-'FILE'
		FROM scratch
		COPY rootfs /
		ENV VALUE=value
		RUN echo "$VALUE" >/made && id -u >>/made && cat /made
		USER 1000
		WORKDIR /tmp
		RUN ["sh", "-c", "id -u; pwd; exec touch file"]
	FILE
	cp "$HULL" "$TEST_DIR/hull"
	HULL=$TEST_DIR/hull engine_configure
	mkdir "$ENGINE/home"
	RUNNER=()
	BUILDAH=(buildah --root "$ENGINE/root" --runroot "$ENGINE/runroot")
}

teardown()
{
	[ -n "${ENGINE:-}" ] || return 0
	left=$(find /run/hull "/run/user/${OWNER_ID:-0}/hull" -mindepth 1 -maxdepth 1 -name '*buildah*' 2>/dev/null) || true
	engine_remove
	rm -rf --one-file-system "$TEST_DIR"
	[ -z "$left" ] || fail "left behind:" "$left"
}

b()
{
	timeout --foreground 300 "${RUNNER[@]}" "${BUILDAH[@]}" "$@" 3>&- 4>&-
}

# Builds an image, and runs commands in a container made of it.
build_and_run()
{
	run b bud --isolation oci --runtime "$TEST_DIR/hull" --network none --layers=false --tag "$IMAGE" "$TEST_DIR/context"
	expect_status 0
	expect_match '^value$'
	expect_match '^0$'
	expect_match '^1000$'
	expect_match '^/tmp$'
	b from --name "$ID" "$IMAGE" >/dev/null
	run b run --isolation oci --runtime "$TEST_DIR/hull" --network none --volume "$TEST_DIR/context:/context:ro" "$ID" \
		sh -c 'id -u; cat /made; ls /context/Containerfile; exit 6'
	expect_status 6
	expect_match '^1000$'
	expect_match '^value$'
	expect_match '^/context/Containerfile$'
}

@test "buildah builds an image and runs a container as root" {
	build_and_run
	printf 'FROM %s\nRUN exit 9\n' "$IMAGE" >"$TEST_DIR/context/Containerfile"
	run b bud --isolation oci --runtime "$TEST_DIR/hull" --network none "$TEST_DIR/context"
	[ "$status" -ne 0 ]
	expect_match 'exit status 9'
}

@test "buildah builds an image and runs a container as an ordinary user" {
	OWNER=$(sed -n 's/:.*//p' /etc/subuid 2>/dev/null | head -n 1)
	OWNER_ID=$(id -u "$OWNER" 2>/dev/null) && [ -d "/run/user/$OWNER_ID" ] || skip "no ordinary user has ids to map"
	require_cmd newuidmap
	chown -R "$OWNER_ID:$OWNER_ID" "$ENGINE" "$TEST_DIR/context"
	RUNNER=(setpriv --reuid "$OWNER_ID" --regid "$OWNER_ID" --init-groups env -i -C / PATH="$PATH" HOME="$ENGINE/home"
		XDG_RUNTIME_DIR="/run/user/$OWNER_ID" CONTAINERS_CONF="$CONTAINERS_CONF")
	build_and_run
}
