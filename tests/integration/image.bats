#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# An image that another tool made is unpacked by `hull image unpack`, and runs.

load helpers

setup()
{
	require_cmd umoci
	hull_setup
	make_image "$TEST_DIR/image"
	BUNDLE=$TEST_DIR/unpacked
}

no_terminal()
{
	update_config '.process.terminal = false | .process.env += ["HULL_TEST=" + env.ID]'
}

# bats test_tags=quick
@test "a layout is unpacked and runs, with what its configuration says" {
	run "$HULL" image unpack "oci:$TEST_DIR/image:latest" "$BUNDLE"
	expect_status 0
	no_terminal
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output "from the image: value in /tmp"
}

@test "an archive, and a bare path, are unpacked" {
	tar -C "$TEST_DIR/image" -cf "$TEST_DIR/image.tar" .
	"$HULL" image unpack "oci-archive:$TEST_DIR/image.tar:latest" "$TEST_DIR/one"
	"$HULL" image unpack "$TEST_DIR/image.tar" "$TEST_DIR/two"
	"$HULL" image unpack "$TEST_DIR/image" "$TEST_DIR/three"
	for n in one two three; do
		[ -x "$TEST_DIR/$n/rootfs/bin/busybox" ]
		jq -e .process "$TEST_DIR/$n/config.json" >/dev/null
	done
}

@test "umoci unpacks it to the same files" {
	"$HULL" image unpack "oci:$TEST_DIR/image:latest" "$BUNDLE"
	umoci unpack --image "$TEST_DIR/image:latest" "$TEST_DIR/theirs" >/dev/null 2>&1
	list()
	{
		cd "$1" && find . -printf '%P %y %m %U %G %l %T@\n' | sed 's/\.[0-9]*$//' | grep -v '^ d' | sort
	}
	diff <(list "$BUNDLE/rootfs") <(list "$TEST_DIR/theirs/rootfs")
	diff <(cd "$BUNDLE/rootfs" && find . -type f -exec sha256sum {} + | sort) \
		<(cd "$TEST_DIR/theirs/rootfs" && find . -type f -exec sha256sum {} + | sort)
}

@test "a later layer changes, removes and hides" {
	umoci unpack --image "$TEST_DIR/image:latest" "$TEST_DIR/edit" >/dev/null 2>&1
	rm "$TEST_DIR/edit/rootfs/etc/removed"
	rm -r "$TEST_DIR/edit/rootfs/opaque"
	mkdir "$TEST_DIR/edit/rootfs/opaque"
	touch "$TEST_DIR/edit/rootfs/opaque/new"
	echo changed >"$TEST_DIR/edit/rootfs/etc/changed"
	ln "$TEST_DIR/edit/rootfs/etc/changed" "$TEST_DIR/edit/rootfs/etc/hard"
	umoci repack --image "$TEST_DIR/image:second" "$TEST_DIR/edit" >/dev/null 2>&1
	"$HULL" image unpack "oci:$TEST_DIR/image:second" "$BUNDLE"
	[ ! -e "$BUNDLE/rootfs/etc/removed" ]
	[ "$(ls "$BUNDLE/rootfs/opaque")" = new ]
	[ "$(cat "$BUNDLE/rootfs/etc/changed")" = changed ]
	[ "$(stat -c %i "$BUNDLE/rootfs/etc/changed")" = "$(stat -c %i "$BUNDLE/rootfs/etc/hard")" ]
	find "$BUNDLE/rootfs" -name '.wh.*' | { ! grep -q .; }
}

@test "skopeo's copy with zstd layers is unpacked" {
	require_cmd skopeo
	skopeo copy --quiet --dest-compress-format zstd --insecure-policy \
		"oci:$TEST_DIR/image:latest" "oci:$TEST_DIR/zstd:latest" 2>"$TEST_DIR/skopeo" ||
		skip "this skopeo cannot: $(tail -n 1 "$TEST_DIR/skopeo")"
	"$HULL" image unpack "oci:$TEST_DIR/zstd:latest" "$BUNDLE"
	[ -x "$BUNDLE/rootfs/bin/busybox" ]
}

# bats test_tags=quick
@test "a changed blob is refused, and nothing stays" {
	blob=$(find "$TEST_DIR/image/blobs" -type f -size +100k | head -n 1)
	printf x | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
	run "$HULL" image unpack "oci:$TEST_DIR/image:latest" "$BUNDLE"
	expect_error "digest|sha256"
	[ ! -e "$BUNDLE" ] || [ -z "$(ls -A "$BUNDLE")" ]
}

@test "a tag or an image that does not exist is named" {
	run "$HULL" image unpack "oci:$TEST_DIR/image:nosuch" "$BUNDLE"
	expect_error nosuch
	run "$HULL" image unpack "oci:$TEST_DIR/nowhere" "$BUNDLE"
	expect_error nowhere
	[ ! -e "$BUNDLE" ]
}

@test "a bundle that is not empty is left alone" {
	mkdir "$BUNDLE"
	echo mine >"$BUNDLE/file"
	run "$HULL" image unpack "oci:$TEST_DIR/image:latest" "$BUNDLE"
	expect_error "$BUNDLE"
	[ "$(cat "$BUNDLE/file")" = mine ]
	[ "$(ls -A "$BUNDLE")" = file ]
}

# An image whose layer is a tar archive made here: layer_image TAR
layer_image()
{
	local size digest config

	rm -rf "$TEST_DIR/evil"
	mkdir -p "$TEST_DIR/evil/blobs/sha256"
	blob()
	{
		digest=$(sha256sum <"$1" | cut -d' ' -f1)
		size=$(stat -c %s "$1")
		cp "$1" "$TEST_DIR/evil/blobs/sha256/$digest"
	}
	blob "$1"
	layer=$(jq -n --arg d "sha256:$digest" --argjson s "$size" \
		'{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $d, size: $s}')
	jq -n --arg d "sha256:$digest" '{architecture: "amd64", os: "linux", config: {Cmd: ["/bin/sh"]},
		rootfs: {type: "layers", diff_ids: [$d]}}' >"$TEST_DIR/c.json"
	blob "$TEST_DIR/c.json"
	config=$(jq -n --arg d "sha256:$digest" --argjson s "$size" \
		'{mediaType: "application/vnd.oci.image.config.v1+json", digest: $d, size: $s}')
	jq -n --argjson c "$config" --argjson l "$layer" '{schemaVersion: 2,
		mediaType: "application/vnd.oci.image.manifest.v1+json", config: $c, layers: [$l]}' >"$TEST_DIR/m.json"
	blob "$TEST_DIR/m.json"
	jq -n --arg d "sha256:$digest" --argjson s "$size" '{schemaVersion: 2, manifests: [
		{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $d, size: $s,
		annotations: {"org.opencontainers.image.ref.name": "latest"}}]}' >"$TEST_DIR/evil/index.json"
	echo '{"imageLayoutVersion": "1.0.0"}' >"$TEST_DIR/evil/oci-layout"
}

@test "a layer that wants to write outside does not" {
	outside=$TEST_DIR/outside
	mkdir "$outside" "$TEST_DIR/t"
	cd "$TEST_DIR/t"
	echo payload >payload
	ln -s "$outside" link
	ln -s / slash
	ln -s ../../../../../../../../../../../.."$outside" dots
	# A link, then a file below it, and names with .. and from the root.
	tar -cPf ../evil.tar link slash dots \
		--transform 's,^payload$,link/one,' payload
	tar -rPf ../evil.tar --transform "s,^payload\$,dots/two," payload
	tar -rPf ../evil.tar --transform "s,^payload\$,../../../../../../../../../..$outside/three," payload
	tar -rPf ../evil.tar --transform "s,^payload\$,$outside/four," payload
	tar -rPf ../evil.tar --transform "s,^payload\$,slash${outside}/five," payload
	cd "$TEST_DIR"
	layer_image "$TEST_DIR/evil.tar"
	run "$HULL" image unpack "oci:$TEST_DIR/evil:latest" "$BUNDLE"
	[ -z "$(ls -A "$outside")" ] || fail "written outside: $(ls -A "$outside")"
	[ ! -e "$TEST_DIR/three" ]
}
