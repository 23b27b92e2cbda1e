# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Images for tests: made of tar archives, and their trees compared, a line for everything that can be seen of a file.

# require_image_tools REASON TOOL...: root, for the reason, and programs; then the working directory is the test's own.
require_image_tools()
{
	local tool reason=$1

	shift
	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
	[ "$(id -u)" -eq 0 ] || skip "needs root, for $reason"
	: "${HULL_BUILD:=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)/build}"
	: "${HULL:=$HULL_BUILD/bin/hull}"
	cd "$BATS_TEST_TMPDIR" || return 1
}

# list_tree DIR: type, mode, owner, size, time with nanoseconds, link count and target of each entry; which names are one file;
# contents; device numbers; extended attributes. Directories' sizes and link counts are the file system's own.
list_tree()
{
	(cd "$1" && find . -printf '%P|%y|%m|%U|%G|%s|%T@|%n|%l\0' |
		sed -z '/|d|/s/|[0-9]*|\([^|]*\)|[0-9]*|$/|-|\1|-|/' | LC_ALL=C sort -z | tr '\0' '\n')
	(cd "$1" && find . ! -type d -links +1 -printf '%i %P\0' | LC_ALL=C sort -z -k 2 |
		awk -v RS='\0' '{ i = $1; sub(/^[0-9]+ /, ""); if (!(i in first)) first[i] = $0; print "same: " $0 " " first[i] }')
	(cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
	(cd "$1" && find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | LC_ALL=C sort)
	if command -v getfattr >/dev/null; then
		(cd "$1" && find . -print0 | LC_ALL=C sort -z | xargs -0r getfattr -hd -m - -e hex -- 2>/dev/null)
	fi
}

# same_trees THEIRS OURS: prints what differs.
same_trees()
{
	list_tree "$1" >"$BATS_TEST_TMPDIR/theirs.list"
	list_tree "$2" >"$BATS_TEST_TMPDIR/ours.list"
	diff "$BATS_TEST_TMPDIR/theirs.list" "$BATS_TEST_TMPDIR/ours.list"
}

# put_blob LAYOUT FILE TYPE: adds it and prints its descriptor.
put_blob()
{
	local digest

	digest=$(sha256sum <"$2" | cut -d' ' -f1)
	cp "$2" "$1/blobs/sha256/$digest"
	jq -cn --arg d "sha256:$digest" --argjson s "$(stat -c %s "$2")" --arg t "$3" \
		'{mediaType: $t, digest: $d, size: $s}'
}

# tar_image LAYOUT COMPRESSION TAR...: an image `latest` of these layers, the lowest first, each packed by a command that reads
# standard input (`cat`, `gzip -n`, `zstd -q`). Its configuration is $image_config, as JSON.
image_config_default='{"Cmd": ["/bin/sh"]}'
tar_image()
{
	local layout=$1 pack=$2 layers='[]' ids='[]' tar config manifest
	local type=application/vnd.oci.image

	shift 2
	rm -rf "$layout"
	mkdir -p "$layout/blobs/sha256"
	for tar in "$@"; do
		ids=$(jq -cn --argjson i "$ids" --arg d "sha256:$(sha256sum <"$tar" | cut -d' ' -f1)" '$i + [$d]')
		$pack <"$tar" >"$layout/packed"
		case $pack in
		gzip*) manifest=$(put_blob "$layout" "$layout/packed" $type.layer.v1.tar+gzip) ;;
		zstd*) manifest=$(put_blob "$layout" "$layout/packed" $type.layer.v1.tar+zstd) ;;
		*) manifest=$(put_blob "$layout" "$layout/packed" $type.layer.v1.tar) ;;
		esac
		layers=$(jq -cn --argjson l "$layers" --argjson d "$manifest" '$l + [$d]')
	done
	rm -f "$layout/packed"
	jq -cn --argjson i "$ids" --argjson c "${image_config:-$image_config_default}" '{architecture: "amd64", os: "linux", config: $c,
		rootfs: {type: "layers", diff_ids: $i}}' >"$layout/new"
	config=$(put_blob "$layout" "$layout/new" $type.config.v1+json)
	jq -cn --argjson c "$config" --argjson l "$layers" --arg t $type.manifest.v1+json \
		'{schemaVersion: 2, mediaType: $t, config: $c, layers: $l}' >"$layout/new"
	manifest=$(put_blob "$layout" "$layout/new" $type.manifest.v1+json)
	rm "$layout/new"
	jq -cn --argjson m "$manifest" '{schemaVersion: 2, manifests:
		[$m + {annotations: {"org.opencontainers.image.ref.name": "latest"}}]}' >"$layout/index.json"
	echo '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
}
