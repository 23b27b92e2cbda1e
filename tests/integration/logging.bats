#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# --log and its relatives: where errors and warnings go besides standard error, and what they look like there.
# modes: container microvm

load helpers

# An error of hull's that names something of ours.
fail_with()
{
	run h "$@" state "no-$ID"
	expect_status 1
	expect_match "^hull: container .no-$ID. does not exist"
}

# bats test_tags=quick
@test "a log file has JSON records with level, msg and an RFC 3339 time" {
	for target in "$TEST_DIR/log" "file:$TEST_DIR/log2"; do
		fail_with --log "$target" --log-format json
		jq -es --arg id "no-$ID" 'length == 1 and (.[0] | .level == "error"
			and .msg == "container `\($id)` does not exist"
			and (.time | test("^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{9}Z$")))' \
			"${target#file:}"
	done
}

@test "a log file has text records, and is appended to" {
	echo before >"$TEST_DIR/log"
	fail_with --log "$TEST_DIR/log" --log-format=text
	fail_with --log "$TEST_DIR/log"
	run cat "$TEST_DIR/log"
	expect_match '^before$'
	[ "$(grep -cE "^time=\"20[^\"]*Z\" level=error msg=\"container .no-$ID. does not exist\"$" <<<"$output")" -eq 2 ]
}

@test "a message of several lines is one JSON record, and one line for people" {
	update_config '.process.args = ["no\nsuch\"program\u001b[2J"]'
	run h --log "$TEST_DIR/log" --log-format json create --bundle "$BUNDLE" "$ID" </dev/null
	[ "$status" -ne 0 ]
	jq -es 'length == 1 and (.[0].msg | contains("no\nsuch\"program\u001b[2J"))' "$TEST_DIR/log"
	[ "${#lines[@]}" -eq 1 ]
	grep -F 'no\nsuch"program\x1b[2J' <<<"$output"
}

# bats test_tags=microvm
@test "JSON without a log goes to standard error" {
	run --separate-stderr h --log-format json state "no-$ID"
	expect_status 1
	expect_output ""
	# shellcheck disable=SC2154 # bats sets it
	jq -es --arg id "no-$ID" 'length == 1 and .[0].level == "error" and .[0].msg == "container `\($id)` does not exist"' \
		<<<"$stderr"
	# Warnings of the new process, too.
	update_config '.process.capabilities.ambient = ["CAP_NOSUCH"]'
	set_args true
	run h --log-format json run --bundle "$BUNDLE" "$ID"
	jq -es 'length == 1 and .[0].level == "warning"' <<<"$output"
	run h --log-format text state "no-$ID"
	expect_match '^hull: container'
}

# bats test_tags=quick
@test "--log-level and --debug say how much" {
	export NOTIFY_SOCKET=$TEST_DIR/nobody
	run_script true # no warning without readiness
	in_microvm || expect_output "" # (which says that there is none)
	unset NOTIFY_SOCKET
	update_config '.hooks.poststop = [{path: "/bin/false"}]'
	set_args true
	run h --log "$TEST_DIR/log" --log-level error run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output ""
	[ ! -s "$TEST_DIR/log" ]
	for level in warning info debug; do
		run h --log "$TEST_DIR/log" --log-level $level --log-format json run --bundle "$BUNDLE" "$ID"
		expect_status 0
		expect_match 'hull: warning: /hooks/poststop/0'
	done
	[ "$(jq -s 'map(select(.level == "warning")) | length' "$TEST_DIR/log")" -eq 3 ]
	run h --debug run --bundle "$BUNDLE" "$ID"
	expect_match 'hull: warning: /hooks/poststop/0'
	run h --log-level loud list
	expect_error 'log-level .loud.: must be error, warning, info or debug'
	run h --log-format xml list
	expect_error 'log-format .xml.: must be text or json'
}

@test "a log that cannot be opened is an error" {
	run h --log "$TEST_DIR/no/such/log" list
	expect_error "--log .*no/such/log.: No such file"
}

# with_log_socket PATH COMMAND...: in a mount namespace where PATH is a log daemon's socket; what arrives
# there is in $TEST_DIR/told.
with_log_socket()
{
	# shellcheck disable=SC2016
	unshare --mount --propagation private sh -c 'path=$1 sockets=$2 told=$3; shift 3
		top=/$(echo "$path" | cut -d/ -f2)
		mount -t tmpfs tmpfs "$top" || exit 99
		mkdir -p "${path%/*}"
		[ "$top" != /dev ] || { mknod -m 666 /dev/null c 1 3; ln -s /proc/self/fd /dev/fd; }
		"$sockets" datagrams "$path" >"$told" </dev/null &
		listener=$!
		until [ -S "$path" ]; do sleep 0.02; done
		sleep 0.1
		"$@"
		status=$?
		sleep 0.2
		kill $listener
		exit $status' sh "$1" "$HELPERS/sockets" "$TEST_DIR/told" "${@:2}" 3>&-
}

# bats test_tags=quick
@test "--log journald: writes records of the journal's native protocol" {
	run with_log_socket /run/systemd/journal/socket \
		"$HULL" --root "$ROOT" --log journald: --log-format json state "no-$ID"
	expect_status 1
	[ "$(cat "$TEST_DIR/told")" = "PRIORITY=3|SYSLOG_IDENTIFIER=hull|MESSAGE=container \`no-$ID\` does not exist|" ] ||
		fail "$(cat "$TEST_DIR/told")"
	# Another name; and a value of two lines, which has its length as 64 bits in front.
	update_config '.process.args = ["a\nb"]'
	run with_log_socket /run/systemd/journal/socket \
		"$HULL" --root "$ROOT" --log journald:engine create --bundle "$BUNDLE" "$ID"
	expect_status 1
	run cat "$TEST_DIR/told"
	expect_match '^PRIORITY=3\|SYSLOG_IDENTIFIER=engine\|MESSAGE\|.\?\?\?\?\?\?\?.*exec .a\|b.: executable file not found'
}

# bats test_tags=quick
@test "--log syslog: writes lines as syslog(3) does" {
	update_config '.hooks.poststop = [{path: "/bin/false"}]'
	set_args true
	run with_log_socket /dev/log "$HULL" --root "$ROOT" --log syslog:engine state "no-$ID"
	expect_status 1
	run cat "$TEST_DIR/told"
	# Facility user (1), severity error (3).
	expect_match "^<11>[A-Z][a-z]{2} [ 1-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] engine\\[[0-9]+\\]: container .no-$ID. does not exist$"
}

@test "a log daemon that is not there is an error" {
	run unshare --mount sh -c 'mount -t tmpfs tmpfs /run && exec "$@"' \
		sh "$HULL" --log journald:hull list 3>&-
	expect_error '--log .journald:hull.: connect to ./run/systemd/journal/socket.'
}

@test "the journal of this host has what hull wrote" {
	require_cmd journalctl
	[ -S /run/systemd/journal/socket ] || skip "no journal runs here"
	fail_with --log "journald:$ID"
	wait_until 20 'journalctl --quiet --identifier="$ID" --priority=err --output=cat | grep "no-$ID"'
	[ ! -S /dev/log ] || {
		fail_with --log "syslog:$ID-s"
		wait_until 20 'journalctl --quiet --identifier="$ID-s" --output=cat | grep "no-$ID"'
	}
}

# bats test_tags=quick
@test "-V, -v and --version print the same" {
	run "$HULL" --version
	expect_status 0
	version=$output
	for option in -V -v -version; do
		run "$HULL" $option
		expect_status 0
		expect_output "$version"
	done
}

# bats test_tags=quick
@test "--rootless takes what runc takes" {
	for value in true false auto 1 0 t False; do
		run h --rootless "$value" list --quiet
		expect_status 0
	done
	run h --rootless=auto list --quiet
	expect_status 0
	run h --rootless maybe list --quiet
	expect_error '--rootless .maybe.: must be true, false or auto'
}
