#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull as the runtime of a real buildah: images from scratch with busybox, whose RUN lines are containers of hull's; no
# network.
# modes: cgroupfs systemd rootless rootless-systemd

load helpers
load engines

setup()
{
	engine_can buildah || skip "$ENGINE_LACKS"
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/t.XXXXXX")
	chmod 711 "$TEST_DIR"
	ID=ht-$$-$BATS_TEST_NUMBER-$RANDOM
	engine_create
	mkdir "$TEST_DIR/context"
	cp -a "$(cached_rootfs)" "$TEST_DIR/context/rootfs"
}

teardown()
{
	[ -n "${ENGINE:-}" ] || return 0
	left=$(find "$HULL_STATE" -mindepth 1 -maxdepth 1 -name '*buildah*' 2>/dev/null
		find /sys/fs/cgroup -type d -name '*buildah*') || true
	engine_remove
	rm -rf --one-file-system "$TEST_DIR"
	[ -z "$left" ] || fail "left behind:" "$left"
}

# bats waits for whoever has its descriptors.
b()
{
	timeout --foreground 300 "${BUILDAH[@]}" "$@" 3>&- 4>&-
}

# bud OPTION...: builds the context, whose Containerfile is on standard input.
bud()
{
	cat >"$TEST_DIR/context/Containerfile"
	chown -R "$OWNER_ID:$OWNER_ID" "$TEST_DIR/context"
	# Without root, buildah's own choice is an isolation without a runtime.
	b bud --isolation oci --runtime "$ENGINE/bin/hull" --network none --layers=false "$@" "$TEST_DIR/context"
}

# bats test_tags=rootless
@test "buildah bud: stages, users, a secret, limits of the process" {
	echo "a secret" >"$TEST_DIR/secret"
	chmod 644 "$TEST_DIR/secret"
	run bud --tag "$IMAGE" --secret "id=secret,src=$TEST_DIR/secret" --ulimit nofile=100:200 <<-'FILE'
		FROM scratch AS base
		COPY rootfs /
		ENV VALUE=value
		RUN --mount=type=secret,id=secret echo "$VALUE" >/made && id -u && ulimit -n && cat /run/secrets/secret

		FROM scratch
		COPY --from=base / /
		USER 1000
		WORKDIR /tmp
		RUN ["sh", "-c", "cat /made; id -u; pwd; exec touch file"]
	FILE
	expect_status 0
	expect_match '^0$'
	expect_match '^100$'
	expect_match '^a secret$'
	expect_match '^value$'
	expect_match '^1000$'
	expect_match '^/tmp$'
}

# Only this one of buildah's commands has a cgroup manager.
# bats test_tags=everyday
@test "buildah run: user, volume, status, and a cgroup by its manager" {
	b from --name "$ID" --pull-never scratch >/dev/null
	b copy --quiet "$ID" "$TEST_DIR/context/rootfs" / >/dev/null
	run b run --isolation oci --runtime "$ENGINE/bin/hull" --network none --cgroupns host --user 1000 \
		--volume "$TEST_DIR/context:/context:ro" "$ID" \
		sh -c 'id -u; ls /context/rootfs/bin/busybox; cat /proc/self/cgroup; exit 6'
	expect_status 6
	expect_match '^1000$'
	expect_match '^/context/rootfs/bin/busybox$'
	if [ $CGROUP_MANAGER = systemd ]; then
		expect_match '^0::/.*\.slice/hull-buildah-buildah[0-9]+\.scope$'
	elif ! is_rootless; then
		expect_match '^0::/hull-buildah-buildah[0-9]+$'
	fi
}

@test "buildah tells what a RUN line ended with, and hull's words where it did not begin" {
	run bud <<-'FILE'
		FROM scratch
		COPY rootfs /
		RUN exit 9
	FILE
	[ "$status" -ne 0 ]
	expect_match 'exit status 9'
	run bud <<-'FILE'
		FROM scratch
		COPY rootfs /
		RUN ["/no/such/program"]
	FILE
	[ "$status" -ne 0 ]
	expect_match 'hull: .*/no/such/program.*No such file'
}
