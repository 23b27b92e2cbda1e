#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Words in messages, and exit statuses, by which engines tell errors apart. A change here breaks containerd or podman.

load helpers

# containerd: "not found" is what it makes of these (process/utils.go).
# bats test_tags=quick
@test "kill and exec of a stopped container: container not running" {
	set_args true
	start_container
	wait_stopped
	for signal in KILL 9 TERM 0; do
		run h kill "$ID" $signal
		expect_status 1
		grep -qF 'container not running' <<<"$output"
	done
	run h exec "$ID" true
	expect_status 255
	grep -qF 'container not running' <<<"$output"
	# To kill nobody is what --all wanted.
	h kill --all "$ID" KILL
}

# containerd ignores delete's error with these words, podman and buildah look for them.
# bats test_tags=quick
@test "an unknown container: does not exist" {
	for command in start state delete pause resume ps "exec $ID true" "kill $ID 9"; do
		# shellcheck disable=SC2086
		case $command in
		*\ *) run h $command ;;
		*) run h "$command" "$ID" ;;
		esac
		case $command in
		exec*) expect_status 255 ;; # a status of the process' own would rather be 1
		*) expect_status 1 ;;
		esac
		expect_match "^hull: .*$ID. does not exist$"
	done
	h delete --force "$ID"
}

# podman's classes (libpod/oci_util.go): 127 and 126 for the workload's own.
not_found='executable file not found in|no such file or directory|open executable'
not_permitted='permission denied|operation not permitted'

# bats test_tags=quick
@test "a program that does not exist: status 127, and podman's words" {
	start_sleeper
	for program in no-such-program /no/such/program; do
		run h exec "$ID" $program
		expect_status 127
		expect_error "$not_found"
		expect_no_match "$not_permitted"
		set_args $program
		run h run --bundle "$BUNDLE" "$ID-2"
		expect_status 127
		expect_error "$not_found"
		run h create --bundle "$BUNDLE" "$ID-2" </dev/null
		expect_status 1
		expect_error "$not_found"
	done
}

# bats test_tags=quick
@test "a program that may not be executed: status 126, and podman's words" {
	echo x >"$BUNDLE/rootfs/plain"
	chmod 644 "$BUNDLE/rootfs/plain"
	start_sleeper
	for program in /plain /etc; do
		run h exec "$ID" $program
		expect_status 126
		[ $program = /etc ] || expect_error "$not_permitted"
		expect_no_match 'executable file not found|[Nn]o such file'
		set_args $program
		run h run --bundle "$BUNDLE" "$ID-2"
		expect_status 126
	done
	# Also as another user, and for a script whose interpreter is missing.
	printf '#!/no/such/interpreter\n' >"$BUNDLE/rootfs/script"
	chmod 755 "$BUNDLE/rootfs/script"
	run h exec -u 1000:1000 "$ID" /script
	expect_status 127
	expect_error "$not_found"
}

@test "a working directory that does not exist: podman's words" {
	start_sleeper
	run h exec --cwd /no/such/directory "$ID" true
	expect_status 127
	expect_error "$not_found"
}

# containerd takes the last record of level "error" for the reason (go-runc, monitor).
@test "the last error in the JSON log is the one that was printed" {
	set_args no-such-program
	run h --log "$TEST_DIR/log.json" --log-format json create --bundle "$BUNDLE" "$ID" </dev/null
	expect_status 1
	[ "hull: $(jq -rs 'map(select(.level == "error")) | last | .msg' "$TEST_DIR/log.json")" = "$output" ]
	run h --log "$TEST_DIR/log.json" --log-format json kill "$ID" 9
	[ "hull: $(jq -rs 'map(select(.level == "error")) | last | .msg' "$TEST_DIR/log.json")" = "$output" ]
}

@test "a message is one line on standard error, and nothing on standard output" {
	for command in "state $ID" "start $ID" "delete $ID" "exec $ID true" "create --bundle $TEST_DIR/none $ID"; do
		# shellcheck disable=SC2086
		run --separate-stderr h $command
		[ "$status" -ne 0 ]
		expect_output ""
		# shellcheck disable=SC2154 # bats sets it
		[ "$(wc -l <<<"$stderr")" -eq 1 ]
	done
}

# podman asks so whether it may checkpoint and restore (pkg/checkpoint/crutils): yes is status 0 of the first, and "flag needs
# an argument" or "requires an argument" from the second.
# bats test_tags=quick
@test "podman's questions for checkpoint and restore: yes" {
	run h checkpoint --help
	expect_status 0
	run h restore --lsm-mount-context
	expect_status 1
	expect_match 'requires an argument'
}

# containerd's go-runc and podman info read it: a name, "version" and a number; lines of "KEY: VALUE", of which spec is one.
# bats test_tags=quick
@test "--version has the form of runc's" {
	run h --version
	expect_status 0
	[[ "${lines[0]}" =~ ^hull\ version\ [0-9]+\.[0-9]+\.[0-9]+ ]]
	expect_match '^spec: 1\.[0-9]+\.[0-9]+$'
	! printf '%s\n' "${lines[@]:1}" | grep -vE '^[a-z]+: .+$'
}
