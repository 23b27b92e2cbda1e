# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion for bash. What a command takes is read from `hull COMMAND --help`: its options, and by the name of
# an option's argument (DIR, FILE, FORMAT, …) what may follow. Words are container ids where a command wants one.

# _hull_argument OPTION HELP: the name of the option's argument; nothing for a flag.
_hull_argument()
{
	local name=$1
	[[ $name == -[a-z] ]] && name="$name, --[a-z0-9-]+"
	grep -E -m 1 "^ +(-., )?$name( |\$)" <<<"$2" | grep -oE -- "--[a-z0-9-]+ [^ ]+" | grep -oE ' [][A-Z,:=|01_…]+$'
}

# _hull_values COMMAND ARGUMENT: fills COMPREPLY with what an option's argument may be.
_hull_values()
{
	local words=""
	case $2 in
	DIR) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	FILE | PATH) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	FORMAT)
		[ -n "$1" ] && [ "$1" != checkpoint ] && words='table json' || words='text json'
		[ "$1" != image ] || words+=' dir erofs'
		;;
	LEVEL) words='error warning info debug' ;;
	NAME) words='cgroupfs systemd disabled' ;;
	VALUE) words='true false auto' ;;
	MODE) words='soft full strict ignore' ;;
	METHOD) words='iptables nftables skip' ;;
	NAMESPACE) words=network ;;
	KIND) words='container microvm' ;;
	NETWORK) words='none host' ;;
	USERNS) words='host auto' ;;
	WHEN) words='missing always never' ;;
	IMAGE) words=$("$hull" image list --quiet 2>/dev/null) ;;
	'0|1') words='0 1' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

# _hull_words COMMAND PLACE: fills COMPREPLY for the word in this place behind the command, counted from 0.
_hull_words()
{
	local words=""
	case $1:$2 in
	:* | help:0) words=$("$hull" --help 2>/dev/null | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }') ;;
	mounts:0) words='add remove' ;;
	image:0) words='pull list inspect unpack mount umount remove prune verify export' ;;
	kill:1) words=$(compgen -A signal SIG | sed 's/^SIG//; /^EXIT$/d') ;;
	mounts:2) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	image:*)
		# An image in the store, or a source, or a directory.
		words=$("$hull" image list --quiet 2>/dev/null)
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
		return
		;;
	checkpoint:0) words="inspect $("$hull" "${root[@]}" list --quiet 2>/dev/null)" ;;
	checkpoint:1 | clone:0) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	delete:* | mounts:1 | start:0 | state:0 | kill:0 | exec:0 | ps:0 | pause:0 | resume:0 | update:0 | events:0)
		words=$("$hull" "${root[@]}" list --quiet 2>/dev/null)
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

_hull()
{
	local hull=$1 cur=${COMP_WORDS[COMP_CWORD]} command="" option="" root=() help word i place=0 only_words=""

	COMPREPLY=()
	help=$("$hull" --help 2>/dev/null)
	# Up to the cursor: which command, how many words behind it, and whether an option waits for its argument.
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [ "$word" = = ]; then # --root=DIR is three words
			continue
		elif [ -n "$option" ]; then
			[ -n "$command" ] || [ "$option" != --root ] || root=(--root "$word")
			option=""
		elif [ "$word" = -- ]; then
			only_words=1
		elif [[ $word == -?* && -z $only_words ]]; then
			[ -z "$(_hull_argument "$word" "$help")" ] || option=$word
		elif [ -z "$command" ]; then
			command=$word
			help=$("$hull" "$command" --help 2>/dev/null)
		else
			place=$((place + 1))
			case $command in exec | ps) only_words=1 ;; esac
		fi
	done
	[ "$cur" != = ] || cur=""
	if [ -n "$option" ]; then
		_hull_values "$command" "$(_hull_argument "$option" "$help" | tr -d ' ')"
	elif [[ $cur == -* && -z $only_words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(grep -oE '^ +(-., )?--[a-z0-9-]+' <<<"$help" | grep -oE -- '--.*')" -- "$cur")
	else
		_hull_words "$command" "$place"
	fi
}

complete -F _hull hull hull-vm
