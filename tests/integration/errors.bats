#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a person sees who got something wrong: one line that says what and where, and status 1.

load helpers

# Refused with status 1 and one line that has the JSON path.
refused()
{
	run h create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "$1"
	expect_status 1
	[ "$(wc -l <<<"$output")" -eq 1 ] || fail "more than a line:" "$output"
	[ ! -e "$ROOT/$ID" ]
}

# bats test_tags=quick
@test "wrong types are named by their JSON path" {
	update_config '.linux.resources.memory = {limit: "much"}'
	refused '/linux/resources/memory/limit.*integer.*string'
	make_bundle_again
	update_config '.process.args = "sh"'
	refused '/process/args.*array'
	make_bundle_again
	update_config '.mounts[1].options[0] = 7'
	refused '/mounts/1/options/0.*string'
	make_bundle_again
	update_config '.root = []'
	refused '/root.*object'
}

make_bundle_again()
{
	rm -rf "$BUNDLE"
	make_bundle "$BUNDLE"
}

# bats test_tags=quick
@test "missing members are named" {
	update_config 'del(.ociVersion)'
	refused 'ociVersion'
	make_bundle_again
	update_config 'del(.root.path)'
	refused '/root.*path'
	make_bundle_again
	update_config 'del(.process.cwd)'
	refused '/process.*cwd'
	make_bundle_again
	update_config 'del(.mounts[0].destination)'
	refused '/mounts/0.*destination'
}

@test "values out of range are named" {
	update_config '.process.user.uid = -1'
	refused '/process/user/uid'
	make_bundle_again
	update_config '.process.user.uid = 4294967296'
	refused '/process/user/uid'
	make_bundle_again
	update_config '.process.user.uid = 1.5'
	refused '/process/user/uid'
	make_bundle_again
	update_config '.process.rlimits[0].hard = 18446744073709551616000'
	refused '/process/rlimits/0/hard'
}

# bats test_tags=quick
@test "what is no JSON is an error with the place" {
	echo '{"ociVersion": "1.0.0",' >"$BUNDLE/config.json"
	refused 'config.json'
	echo -n '' >"$BUNDLE/config.json"
	refused 'config.json'
	printf '{"ociVersion": "1.0.0", "hostname": "\xff\xfe"}' >"$BUNDLE/config.json"
	refused 'config.json|UTF-8'
	printf '{"ociVersion": "1.0.0"} {}' >"$BUNDLE/config.json"
	refused 'config.json'
	rm "$BUNDLE/config.json"
	refused 'config.json.*No such file'
}

@test "nesting bombs and large files are refused quickly" {
	start=$SECONDS
	{ printf '{"ociVersion": "1.0.0", "x": '; head -c 1000000 /dev/zero | tr '\0' '['; } >"$BUNDLE/config.json"
	refused 'deep|nest|config.json'
	{ printf '{"ociVersion": "1.0.0", "x": "'; head -c 17000000 /dev/zero | tr '\0' 'x'; echo '"}'; } >"$BUNDLE/config.json"
	refused 'config.json.*(large|limit)'
	[ $((SECONDS - start)) -lt 10 ]
}

@test "a config.json that is a pipe or a directory does not hang" {
	rm "$BUNDLE/config.json"
	mkfifo "$BUNDLE/config.json"
	run without_bats timeout 10 "$HULL" --root "$ROOT" create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "config.json"
	[ "$status" -ne 124 ]
	rm "$BUNDLE/config.json"
	mkdir "$BUNDLE/config.json"
	refused "config.json"
}

@test "unknown members are ignored, unknown versions of 1.x taken" {
	update_config '.ociVersion = "1.9.7-dev" | .noSuchMember = {"a": [1, {"b": null}]} | .linux.noSuch = true'
	run_script 'echo ok'
	expect_output ok
	update_config '.ociVersion = "2.0.0"'
	run_script 'echo ok'
	expect_error "ociVersion"
}

@test "a bundle that does not exist is named" {
	run h create --bundle "$TEST_DIR/nowhere" "$ID" </dev/null
	expect_error "nowhere"
	expect_status 1
}

@test "a root file system that does not exist is named" {
	update_config '.root.path = "no-such-rootfs"'
	refused "no-such-rootfs"
}

# bats test_tags=quick
@test "unknown commands and options say what to do" {
	run h no-such-command
	expect_error "no-such-command"
	run h run --no-such-option "$ID"
	expect_error "^hull: run: unknown option .--no-such-option.; see hull run --help\$"
	run h --no-such-option run
	expect_error "^hull: unknown option .--no-such-option.; see hull --help\$"
	run h create
	expect_error "^hull: create: an argument is missing; usage: hull create \[OPTIONS\] ID\$"
	run h exec "$ID"
	expect_error "^hull: exec: an argument is missing; usage: hull exec"
	run h state one two
	expect_error "^hull: state: .two. is one argument too many; usage: hull state \[OPTIONS\] ID\$"
	for option in --pid-file= --console-socket= --bundle=; do
		run h run $option "$ID"
		expect_error "^hull: run: option ${option%=}: is empty; see hull run --help\$"
	done
	run h --log "" list
	expect_error "option --log: is empty"
	run h list --format
	expect_error "^hull: list: option --format requires an argument: FORMAT; see hull list --help\$"
}

# bats test_tags=quick
@test "--help and --version" {
	run "$HULL" --version
	expect_status 0
	expect_match '^hull (version )?[0-9]+\.[0-9]+'
	run "$HULL" --help
	expect_status 0
	for command in create start state kill delete run exec list ps pause resume spec features check; do
		grep -qE "(^| )$command( |$)" <<<"$output" || fail "--help does not name $command"
		run "$HULL" "$command" --help
		expect_status 0
		expect_match "$command"
		run "$HULL" --help
	done
}

@test "help is --help" {
	[ "$(h help)" = "$(h --help)" ]
	[ "$(h help run)" = "$(h run --help)" ]
	[ "$(h help image)" = "$(h image --help)" ]
	run h help no-such-command
	expect_error "unknown command .no-such-command."
	run h help run exec
	expect_error "one argument too many"
}

@test "features is JSON that says what hull can" {
	run h features
	expect_status 0
	jq -e '.ociVersionMin and .ociVersionMax and (.linux.namespaces | index("pid") != null)
		and (.hooks | length == 6) and (.mountOptions | index("ro") != null)
		and (.linux.seccomp.enabled == true)' <<<"$output"
}

# bats test_tags=quick
@test "check prints a table, and JSON" {
	run h check
	expect_match '[Cc]group'
	run h check --format json
	jq -e type <<<"$output"
}

@test "what hull does not do yet is refused, never skipped" {
	update_config '.vm = {kernel: {path: "/vmlinuz"}}'
	refused 'vm'
}

@test "a host without /proc is named as that" {
	run without_bats unshare --mount sh -c 'umount -l /proc && exec "$@"' sh "$HULL" --root "$ROOT" \
		run --bundle "$BUNDLE" "$ID"
	expect_error "^hull: ./proc. is not mounted on this host: mount -t proc proc /proc"
}

@test "who cannot look into /proc does not take a running container for one that has stopped" {
	start_sleeper
	for command in state delete; do
		run without_bats unshare --mount sh -c 'umount -l /proc && exec "$@"' sh "$HULL" --root "$ROOT" $command "$ID"
		expect_error "process [0-9]+ is there, but not to be seen in /proc"
	done
	# shellcheck disable=SC2016
	run without_bats bash -c 'ulimit -n 5; exec "$@"' bash "$HULL" --root "$ROOT" delete "$ID"
	expect_error "Too many open files"
	[ "$(container_status)" = running ]
}

@test "a state directory that cannot be made is named" {
	touch "$TEST_DIR/file"
	run without_bats "$HULL" --root "$TEST_DIR/file/state" create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "$TEST_DIR/file"
}

@test "the log file has what standard error has" {
	update_config '.root = []'
	run h --log "$TEST_DIR/log" create --bundle "$BUNDLE" "$ID" </dev/null
	[ "$status" -ne 0 ]
	grep -q '/root' "$TEST_DIR/log"
}
