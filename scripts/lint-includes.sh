#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds the house in order: includes point down the table of docs/architecture.md only and make no
# cycle, a file has at most 800 lines, and each starts with its SPDX line.
set -euo pipefail
cd "$(dirname "$0")/.."

max_lines=800
failures=$(mktemp)
edges=$(mktemp)
trap 'rm -f "$failures" "$edges"' EXIT

files()
{
	find . -path ./.git -prune -o -path ./build -prune -o -type f "$@" -print | sed 's,^\./,,' | sort
}

mapfile -t sources < <(files \( -name '*.c' -o -name '*.h' \))
mapfile -t others < <(files \( -name '*.sh' -o -name '*.bash' -o -name '*.bats' -o -name '*.py' -o -name Makefile \
	-o -name '*.[1578]' -o -path ./tests/run -o -path ./.ci/run \))

# ---- direction ----
awk -v edges="$edges" '
BEGIN {
	allowed["base"] = ""
	allowed["oci"] = " base "
	allowed["cgroups"] = " oci base "
	allowed["namespaces"] = " oci base "
	allowed["microvm"] = " base "
	allowed["sandbox"] = " namespaces cgroups microvm oci base "
	allowed["runtime"] = " sandbox cgroups oci base "
	allowed["cmd"] = " runtime sandbox namespaces cgroups microvm oci base "
	allowed["tests"] = " runtime sandbox namespaces cgroups microvm oci base "
}
match($0, /^[ \t]*#[ \t]*include[ \t]+"[^"]+"/) {
	target = $0
	sub(/^[^"]*"/, "", target)
	sub(/".*/, "", target)
	split(FILENAME, from, "/")
	split(target, to, "/")
	if (!(from[1] in allowed))
		printf "%s:%d: the folder %s/ is not in the table\n", FILENAME, FNR, from[1]
	else if (target !~ /\//)
		printf "%s:%d: include \"%s\" by its path from the top of the repository\n", FILENAME, FNR, target
	else if (to[1] != from[1] && index(allowed[from[1]], " " to[1] " ") == 0)
		printf "%s:%d: %s/ may not include \"%s\"\n", FILENAME, FNR, from[1], target
	# The image unpacker builds on the parser, never the other way round; two programs share nothing.
	else if (from[1] == "oci" && from[2] != "image" && to[2] == "image")
		printf "%s:%d: oci/ may not include oci/image/\n", FILENAME, FNR
	else if (from[1] == "cmd" && to[1] == "cmd" && from[2] != to[2])
		printf "%s:%d: one program may not include another'\''s \"%s\"\n", FILENAME, FNR, target
	print FILENAME, target >edges
}' "${sources[@]}" >>"$failures"

# ---- cycles ----
# tsort names the members of a loop on standard error.
if ! loop=$(tsort "$edges" 2>&1 >/dev/null); then
	printf 'includes make a cycle:\n%s\n' "$loop" >>"$failures"
fi

# ---- length, SPDX ----
for file in "${sources[@]}" "${others[@]}"; do
	lines=$(wc -l <"$file")
	[ "$lines" -le $max_lines ] || echo "$file: $lines lines; at $max_lines a file is two files" >>"$failures"
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
		echo "$file: no SPDX-License-Identifier line at the top" >>"$failures"
done

cat "$failures"
[ ! -s "$failures" ]
