#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Terminals: handed over through --console-socket, and in the foreground.
# modes: container microvm

load helpers

setup()
{
	hull_setup
	[ -x "$HELPERS/terminal" ] || skip "the helper programs are not built"
	update_config '.process.terminal = true'
}

# Listens for the console in the background; what it prints goes to $TEST_DIR/console.
listen()
{
	"$HELPERS/console" "$TEST_DIR/tty.sock" "$@" <"${CONSOLE_INPUT:-/dev/null}" >"$TEST_DIR/console" 2>&1 3>&- &
	wait_until 5 '[ -S "$TEST_DIR/tty.sock" ]'
}

# bats test_tags=quick,microvm
@test "the terminal's master arrives at the console socket" {
	listen 20 60
	set_args sh -c 'tty; probe tty; test -t 0 && test -t 1 && test -t 2 && echo all three'
	h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null >"$OUT" 2>&1
	h start "$ID"
	wait_stopped
	wait
	run tr -d '\r' <"$TEST_DIR/console"
	expect_match '^/dev/(console|pts/0)$'
	expect_match '^tty 20 60$'
	expect_match '^all three$'
}

@test "what is typed reaches the workload" {
	echo "typed text" >"$TEST_DIR/typed"
	CONSOLE_INPUT=$TEST_DIR/typed listen
	set_args sh -c 'read line; echo "got <$line>"'
	h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null >"$OUT" 2>&1
	h start "$ID"
	wait_stopped
	wait
	grep -q "got <typed text>" "$TEST_DIR/console"
}

@test "consoleSize is the size at the start" {
	listen
	update_config '.process.consoleSize = {height: 11, width: 44}'
	set_args probe tty
	h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null >"$OUT" 2>&1
	h start "$ID"
	wait_stopped
	wait
	grep -q "tty 11 44" "$TEST_DIR/console"
}

@test "the controlling terminal is the container's, and /dev/console is it" {
	listen
	set_args sh -c 'echo through console >/dev/console; echo through tty >/dev/tty; stat -c %t /dev/console
		exec probe session'
	h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null >"$OUT" 2>&1
	h start "$ID"
	wait_stopped
	wait
	run tr -d '\r' <"$TEST_DIR/console"
	expect_match 'session yes group yes'
	expect_match '^through console$'
	expect_match '^through tty$'
	expect_match '^88$' # 136: a pseudo-terminal
}

@test "create with a terminal needs a console socket, and the reverse" {
	set_args true
	run h create --bundle "$BUNDLE" "$ID" </dev/null
	expect_error "console"
	expect_nothing_left
	update_config '.process.terminal = false'
	run h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null
	expect_error "console|terminal"
	expect_nothing_left
}

@test "a console socket that nobody listens to is an error" {
	set_args true
	run h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/nobody.sock" "$ID" </dev/null
	expect_error "nobody.sock"
	expect_nothing_left
}

# bats test_tags=quick
@test "run in the foreground: size, input, status, and the terminal restored" {
	set_args sh -c 'probe tty; printf "> "; read line; echo "got <$line>"; exit 5'
	run "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" <<<"a line"
	expect_status 5
	output=$(tr -d '\r' <<<"$output")
	expect_match '^tty 33 77$'
	expect_match '^got <a line>$'
	expect_match '^terminal: restored$'
}

@test "a change of the window's size is passed on" {
	set_args sh -c 'trap "probe tty; exit 0" WINCH; echo resize; while :; do sleep 0.05; done'
	run timeout 20 "$HELPERS/terminal" -r "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null
	expect_status 0
	expect_match 'tty 40 100'
	expect_match 'terminal: restored'
}

@test "control-C goes to the workload, not to hull" {
	set_args sh -c 'trap "echo interrupted; exit 3" INT; printf "> "; while :; do sleep 0.05; done'
	run timeout 20 "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" <<<$'\003'
	expect_status 3
	expect_match interrupted
	expect_match 'terminal: restored'
}

@test "the terminal is restored when the workload is killed" {
	set_args sh -c 'echo running; sleep 1000'
	"$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 3>&- &
	wait_until 10 'grep -q running "$OUT"'
	h kill "$ID" KILL
	status=0
	wait $! || status=$?
	expect_status 137
	grep -q 'terminal: restored' "$OUT"
}

# bats test_tags=quick
@test "exec with a terminal in the foreground" {
	update_config '.process.terminal = false'
	start_sleeper
	run "$HELPERS/terminal" "$HULL" --root "$ROOT" exec --tty "$ID" \
		sh -c 'probe tty; printf "> "; read line; echo "got <$line>"; exit 6' <<<"a line"
	expect_status 6
	output=$(tr -d '\r' <<<"$output")
	expect_match '^tty 33 77$'
	expect_match '^got <a line>$'
	expect_match '^terminal: restored$'
}

# bats test_tags=microvm
@test "exec with a console socket" {
	update_config '.process.terminal = false'
	start_sleeper
	listen 12 34
	# The process runs already while the engine sets the size.
	h exec --tty --detach --console-socket "$TEST_DIR/tty.sock" "$ID" \
		sh -c 'for i in 1 2 3 4 5 6 7 8 9; do probe tty; sleep 0.2; done' </dev/null >"$OUT" 2>&1
	wait_until 5 'grep -q "tty 12 34" "$TEST_DIR/console"'
	wait
}

@test "much output through a terminal arrives whole" {
	set_args sh -c 'stty -opost; seq 1 20000'
	run "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null
	expect_status 0
	[ "$(tr -d '\r' <<<"$output" | grep -cE '^[0-9]+$')" -eq 20000 ]
}

@test "a terminal that is read slowly and does not block gets all of it" {
	set_args sh -c 'stty -opost; seq 1 20000'
	run timeout 60 "$HELPERS/terminal" -s "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null
	expect_status 0
	[ "$(tr -d '\r' <<<"$output" | grep -cE '^[0-9]+$')" -eq 20000 ]
}

# bats test_tags=quick,microvm
@test "a workload whose output nobody reads any more is hung up" {
	set_args yes
	run timeout 20 bash -o pipefail -c '"$@" </dev/null 2>/dev/null 3>&- | head -n 1' \
		bash "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	[ "$status" -ne 124 ]
	expect_match '^y'
	expect_nothing_left
}

# bats test_tags=microvm
@test "signals are sent on while nobody reads the output, and end hull when the workload has ended" {
	mkfifo "$TEST_DIR/fifo"
	exec 9<>"$TEST_DIR/fifo"
	head -c 65536 /dev/zero >&9 # all that a pipe takes
	set_args sh -c 'trap "exit 3" TERM; yes & touch /ready; while :; do sleep 0.05; done'
	"$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null >"$TEST_DIR/fifo" 3>&- 4>&- 9>&- &
	wait_until 10 '[ -e "$BUNDLE/rootfs/ready" ]'
	kill -TERM $!
	if in_microvm; then # which runs until its output is read, or it is asked once more to end
		wait_until 10 "! kill -TERM $!"
	else
		wait_stopped
		kill -TERM $!
	fi
	status=0
	wait $! || status=$?
	exec 9>&-
	expect_status 3
}

@test "in the background hull is stopped, and leaves the terminal to the shell" {
	set_args sh -c 'printf "> "; read line; echo "got <$line>"'
	# shellcheck disable=SC2016
	run timeout 30 "$HELPERS/terminal" bash -mc '"$@" &
		until grep -q "^State:.T" /proc/$!/status; do sleep 0.05; done
		stty -a | grep -o " icanon"
		fg' bash "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" <<<"a line"
	expect_status 0
	output=$(tr -d '\r' <<<"$output")
	expect_match '^ icanon$'
	expect_match '^got <a line>$'
	expect_match '^terminal: restored$'
}

@test "the terminal belongs to the user" {
	listen
	update_config '.process.user = {uid: 1000, gid: 1000}'
	set_args sh -c 'stat -c %u $(tty); echo ok >$(tty)'
	h create --bundle "$BUNDLE" --console-socket "$TEST_DIR/tty.sock" "$ID" </dev/null >"$OUT" 2>&1
	h start "$ID"
	wait_stopped
	wait
	run tr -d '\r' <"$TEST_DIR/console"
	expect_match '^1000$'
	expect_match '^ok$'
}
