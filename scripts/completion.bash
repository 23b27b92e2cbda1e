# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion for bash: commands, their options as `hull COMMAND --help` lists them, and container ids.

_hull()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} word command="" root=()
	local i

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--root) root=(--root "${COMP_WORDS[i + 1]}") ;;
		--log | --log-format | --log-level | --cgroup-manager | --rootless) ((i++)) ;;
		-*) ;;
		*)
			command=$word
			break
			;;
		esac
	done

	# Global options are the words before the command, command options those behind it.
	case $command:$prev in
	:--log-format)
		mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur")
		return
		;;
	:--log-level)
		mapfile -t COMPREPLY < <(compgen -W 'error warning info debug' -- "$cur")
		return
		;;
	:--rootless)
		mapfile -t COMPREPLY < <(compgen -W 'true false auto' -- "$cur")
		return
		;;
	list:-f | ps:-f | list:--format | ps:--format)
		mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$cur")
		return
		;;
	*:-b | *:--bundle | *:--root | *:--cwd)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	*:--cgroup-manager)
		mapfile -t COMPREPLY < <(compgen -W 'cgroupfs systemd disabled' -- "$cur")
		return
		;;
	update:-r | update:--resources | create:-f | run:-f | spec:-f | exec:-p | *:--config | *:--file | *:--process | *:--pid-file | *:--log | \
		*:--console-socket | *:--pidfd-socket)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac

	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(hull ${command:+"$command"} --help 2>/dev/null |
			grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+')" -- "$cur")
		return
	fi
	case $command in
	'')
		mapfile -t COMPREPLY < <(compgen -W "$(hull --help 2>/dev/null |
			awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')" -- "$cur")
		;;
	start | state | kill | delete | exec | ps | pause | resume | update | events)
		mapfile -t COMPREPLY < <(compgen -W "$(hull "${root[@]}" list --quiet 2>/dev/null)" -- "$cur")
		;;
	mounts)
		case $((COMP_CWORD - i)) in
		1) mapfile -t COMPREPLY < <(compgen -W 'add remove' -- "$cur") ;;
		2) mapfile -t COMPREPLY < <(compgen -W "$(hull "${root[@]}" list --quiet 2>/dev/null)" -- "$cur") ;;
		*) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
		esac
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$(hull --help 2>/dev/null |
			awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')" -- "$cur")
		;;
	image)
		if [ "$prev" = image ]; then
			mapfile -t COMPREPLY < <(compgen -W unpack -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi
		;;
	esac
}

complete -F _hull hull
