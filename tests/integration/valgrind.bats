#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# valgrind finds no leak of memory or of descriptors, and no use of undefined memory. It follows a
# build of its own, `make VALGRIND=1`: the ordinary one is static and hides itself from containers.

load helpers

setup()
{
	require_cmd valgrind
	skip_sanitized "valgrind and the sanitizers exclude one another"
	: "${HULL_VALGRIND:=$top/build/valgrind/bin/hull}"
	[ -x "$HULL_VALGRIND" ] || skip "there is no build with VALGRIND=1"
	hull_setup
	# Valgrind keeps descriptors for itself, and lowers the hard limit for that.
	update_config 'del(.process.rlimits)'
}

# Only the command's own process is looked at: its children become the container.
grind()
{
	valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect,possible \
		--track-fds=yes --trace-children=no --child-silent-after-fork=yes \
		--error-exitcode=99 --log-file="$TEST_DIR/valgrind.%p" \
		"$HULL_VALGRIND" --root "$ROOT" "$@" </dev/null >>"$OUT" 2>&1 3>&- 4>&-
}

# grind COMMAND: status 0, no error, and no descriptor open at exit that was not inherited.
expect_clean()
{
	local status=0 log

	rm -f "$TEST_DIR"/valgrind.*
	grind "$@" || status=$?
	for log in "$TEST_DIR"/valgrind.*; do
		if grep -q "ERROR SUMMARY: [1-9]" "$log" || [ $status -eq 99 ]; then
			fail "valgrind on $1:" "$(cat "$log")"
			return 1
		fi
		# "Open file descriptor N: path" and, below, "<inherited from parent>" for those of the shell.
		awk '/Open (file descriptor|AF_)/ { open = $0; getline; if ($0 !~ /inherited from parent/) { print open; bad = 1 } }
			END { exit bad }' "$log" || { fail "$1 leaves descriptors open:" "$(cat "$log")"; return 1; }
	done
	[ $status -eq 0 ] || fail "$1 failed under valgrind (status $status):" "$(cat "$OUT")"
}

@test "create, start, state, exec, ps, list, kill and delete" {
	set_args sleep 1000
	expect_clean create --bundle "$BUNDLE" "$ID"
	expect_clean state "$ID"
	expect_clean start "$ID"
	expect_clean exec "$ID" true
	expect_clean ps "$ID"
	expect_clean list
	expect_clean kill "$ID" KILL
	wait_stopped
	expect_clean delete "$ID"
}

@test "run in the foreground" {
	set_args true
	expect_clean run --bundle "$BUNDLE" "$ID"
}

# Without a filter: valgrind knows no seccomp(2).
@test "a large configuration, with mounts and hooks" {
	mkdir "$TEST_DIR/m"
	update_config --arg m "$TEST_DIR/m" '
		.mounts += [range(20) | {destination: "/m\(.)", source: $m, options: ["bind", "ro"]}]
		| .hooks.createRuntime = [{path: "/bin/true"}, {path: "/bin/true"}]
		| .annotations = ([range(100) | {key: "k\(.)", value: "v"}] | from_entries)'
	set_args true
	expect_clean run --bundle "$BUNDLE" "$ID"
}

@test "errors leak nothing, either" {
	update_config '.linux.resources.memory = {limit: "much"}'
	run grind create --bundle "$BUNDLE" "$ID"
	expect_status 1
	run grind state "$ID"
	expect_status 1
	! grep -h "definitely lost: [1-9]" "$TEST_DIR"/valgrind.*
}

# Valgrind sees only what the process itself does; this counts what stays open to the outside.
@test "no descriptor of hull's is left in the container's process" {
	start_sleeper
	pid=$(container_pid)
	run sh -c "readlink /proc/$pid/fd/* | grep -vE '^(/dev/null|pipe:|$OUT)'"
	expect_output ""
}
