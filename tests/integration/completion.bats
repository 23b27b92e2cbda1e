#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Completion for bash: every command and option that the help lists, and what may follow.

load helpers

# complete WORD...: what may stand in the place of the last word, a line each, for `hull WORD...`.
complete_words()
{
	without_bats bash -c '. "$1"; shift; hull=$1; shift
		COMP_WORDS=("$hull" "$@"); COMP_CWORD=$#; COMPREPLY=()
		_hull "$hull" && printf "%s\n" "${COMPREPLY[@]}"' bash "$HULL_TOP/scripts/completion.bash" "$HULL" "$@"
}

# bats test_tags=quick
@test "every command and every option is offered, and has its page" {
	local commands command option page
	commands=$(h --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
	[ "$(complete_words '' | sort)" = "$(sort <<<"$commands")" ]
	[ "$(complete_words up)" = update ]
	for command in $commands; do
		page=$HULL_TOP/man/hull-$command.1
		[ "$command" = help ] || [ -e "$page" ] || fail "$command has no page"
		for option in $(h "$command" --help | grep -oE '^ +(-., )?--[a-z0-9-]+' | grep -oE -- '--.*'); do
			complete_words "$command" -- | grep -qxe "$option" || fail "$command $option is not offered"
			[ "$command" = help ] || grep -qE -- "Fl (-|.*Fl -)${option#--}( |\$)" "$page" ||
				fail "$page has no $option"
		done
	done
	for option in $(h --help | grep -oE '^ +(-., )?--[a-z0-9-]+' | grep -oE -- '--.*'); do
		complete_words -- | grep -qxe "$option" || fail "$option is not offered"
		grep -qE -- "Fl (-|.*Fl -)${option#--}( |\$)" "$HULL_TOP/man/hull.1" || fail "hull.1 has no $option"
	done
}

@test "ids are offered where a command takes one, from the state directory that is named" {
	set_args sleep 100
	create_container "$ID-a"
	create_container "$ID-b"
	for command in start state delete kill exec ps pause resume update events; do
		[ "$(complete_words --root "$ROOT" $command '')" = "$(printf '%s\n' "$ID-a" "$ID-b")" ] || fail "$command"
	done
	[ "$(complete_words --root = "$ROOT" --debug kill --all "$ID-b")" = "$ID-b" ]
	[ "$(complete_words --root "$ROOT" delete "$ID-a" "$ID-b")" = "$ID-b" ]
	[ "$(complete_words --root "$ROOT" mounts add '')" = "$(printf '%s\n' "$ID-a" "$ID-b")" ]
	[ -z "$(complete_words --root "$ROOT" state "$ID-a" '')" ]
	[ -z "$(complete_words --root "$ROOT" run '')" ]
}

@test "what may follow an option, and other words" {
	[ "$(complete_words --log-format '')" = "$(printf 'text\njson')" ]
	[ "$(complete_words --log-format = j)" = json ]
	[ "$(complete_words list -f '')" = "$(printf 'table\njson')" ]
	[ "$(complete_words check --format '')" = "$(printf 'table\njson')" ]
	[ "$(complete_words --cgroup-manager s)" = systemd ]
	[ "$(complete_words run --sandbox m)" = microvm ]
	[ "$(complete_words update --cpu-idle '')" = "$(printf '0\n1')" ]
	touch "$TEST_DIR/a-file"
	[ "$(complete_words run -b "$TEST_DIR/bun")" = "$TEST_DIR/bundle" ]
	[ "$(complete_words update --resources "$TEST_DIR/a-f")" = "$TEST_DIR/a-file" ]
	[ "$(complete_words exec --user 1 --process "$TEST_DIR/a-f")" = "$TEST_DIR/a-file" ]
	complete_words kill id '' | grep -qx KILL
	[ "$(complete_words image u)" = "$(printf 'unpack\numount')" ]
	[ "$(complete_words image '')" = "$(h image --help | awk '/^SOURCE/ { exit } /^  [a-z]/ { print $1 }')" ]
	[ "$(complete_words image pull "$TEST_DIR/a-f")" = "$TEST_DIR/a-file" ]
	[ "$(complete_words mounts '')" = "$(printf 'add\nremove')" ]
	[ "$(complete_words help feat)" = features ]
	# Behind the id they are the workload's own.
	[ -z "$(complete_words exec id --)" ]
}
