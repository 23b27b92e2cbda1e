#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# modes: container microvm
# Checkpoints of what hull run --image runs: the image stays in its store, the checkpoint has what was changed.

load helpers
load checkpoint
load image

setup()
{
	require_cmd jq
	hull_setup
	require_checkpoints
	IMAGE=$TEST_DIR/checkpoint
	STORE=$TEST_DIR/store
	mkdir "$TEST_DIR/tree"
	cp -a "$(cached_rootfs)/." "$TEST_DIR/tree"
	mkdir -p "$TEST_DIR/tree/data/below" "$TEST_DIR/tree/gone/deep" "$TEST_DIR/tree/replaced"
	echo "of the image" >"$TEST_DIR/tree/data/file"
	echo x >"$TEST_DIR/tree/gone/deep/file"
	echo x >"$TEST_DIR/tree/replaced/file"
	tar -C "$TEST_DIR/tree" -cf "$TEST_DIR/layer.tar" .
	tar_image "$TEST_DIR/image" cat "$TEST_DIR/layer.tar"
}

# What a container has changed of the image, in all ways; then it counts.
CHANGE='cd /data; echo more >>file; echo new >new; mkdir dir; echo y >dir/y; ln new hard; ln -s new soft; mkfifo fifo; chmod 4711 new
	chown 5:6 dir; rm -r /gone /etc/group; rm -r /replaced; mkdir /replaced; echo z >/replaced/other; rmdir below; echo file >below
	dd if=/dev/zero of=sparse bs=1 count=1 seek=9999999 2>/dev/null; : >"name with blanks"; touch -d 2001-02-03 new; exec 3>>/count; i=0; while :; do i=$((i + 1)); echo $i >&3; echo $i >/last; sleep 0.05; done'

start_image()
{
	h run --detach --store "$STORE" --quiet --image "oci:$TEST_DIR/image" "$@" "$ID" sh -c "$CHANGE" >/dev/null 2>&1 </dev/null
	wait_until 10 "[ \$(h exec $ID cat /last) -gt 3 ]"
}

# What there is of the files in the container $1, in one text.
describe()
{
	h exec "$1" sh -c 'cd /; find data replaced etc gone 2>/dev/null | sort | while read -r f; do [ -L "$f" ] && readlink "$f"; [ -f "$f" ] && stat -c "%n %a %u:%g %s %F %h" "$f" || stat -c "%n %a %u:%g %F" "$f"; done
		cat data/file data/dir/y replaced/other data/below; stat -c %Y data/new; [ data/new -ef data/hard ] && echo same; [ -p data/fifo ] && echo fifo; stat -c %b data/sparse'
}

checkpoint_image()
{
	h checkpoint --image-path "$IMAGE" --work-path "$TEST_DIR/work" "$@" "$ID" || { grep -h Error "$TEST_DIR/work/dump.log"; return 1; }
}

restore_image()
{
	h restore --detach --store "$STORE" --image-path "$IMAGE" --work-path "$TEST_DIR/work" "$@" >>"$OUT" 2>&1 </dev/null || {
		cat "$OUT"
		grep -h Error "$TEST_DIR/work/restore.log"
		return 1
	}
}

@test "what was changed of an image goes into the checkpoint, and comes back over the image" {
	start_image
	before=$(describe "$ID")
	checkpoint_image
	h delete "$ID"
	[ -z "$(ls "$STORE/uses")" ]
	run h checkpoint inspect "$IMAGE"
	expect_match '^image: .*image:latest, sha256:'
	expect_match 'rootfs-diff.tar'
	tar -tf "$IMAGE/rootfs-diff.tar" | grep -qx '.wh.gone'
	tar -tf "$IMAGE/rootfs-diff.tar" | grep -qx 'replaced/.wh..wh..opq'
	[ "$(tar -tf "$IMAGE/rootfs-diff.tar" | grep -c busybox)" = 0 ]
	cd /
	for id in "$ID" "$ID-b"; do
		restore_image "$id"
		[ "$(container_status "$id")" = running ]
		run diff <(describe "$id") <(cat <<<"$before")
		expect_status 0
		number=$(h exec "$id" cat /last)
		wait_until 10 "[ \$(h exec $id cat /last) -gt $number ]"
		[ "$(h exec "$id" sed -n 5p /count)" = 5 ]
	done
	# A checkpoint of what was restored.
	ID=$ID-b IMAGE=$IMAGE.2 checkpoint_image --pre-copy
	h delete --force "$ID" "$ID-b"
	[ -z "$(ls "$STORE/uses")" ]
	IMAGE=$IMAGE.2 restore_image "$ID"
	run diff <(describe "$ID") <(cat <<<"$before")
	expect_status 0
	h delete --force "$ID"
	[ -z "$(ls "$STORE/uses")" ]
}

@test "clones of an image's checkpoint, each with its own name and files" {
	start_image
	before=$(describe "$ID")
	checkpoint_image --leave-running
	ids=("$ID-a" "$ID-b" "$ID-c")
	h clone --store "$STORE" "$IMAGE" "${ids[@]}" </dev/null
	for id in "${ids[@]}"; do
		[ "$(h exec "$id" hostname)" = "$id" ]
		number=$(h exec "$id" cat /last)
		wait_until 10 "[ \$(h exec $id cat /last) -gt $number ]"
		[ "$(describe "$id")" = "$before" ]
		h exec "$id" sh -c "echo $id >/data/mine"
	done
	[ "$(h exec "$ID-a" cat /data/mine)" = "$ID-a" ]
	[ "$(container_status)" = running ]
	run ! h exec "$ID" ls /data/mine
	[ "$(ls "$STORE/uses" | wc -l)" -eq 4 ]
	h delete --force "$ID" "${ids[@]}"
	[ -z "$(ls "$STORE/uses")" ]
}

@test "a volume, a read-only root, a limit, and the foreground" {
	mkdir "$TEST_DIR/volume"
	h run --detach --store "$STORE" --quiet --image "oci:$TEST_DIR/image" --read-only --memory 64m -v "$TEST_DIR/volume:/volume" "$ID" \
		sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/volume/last; echo $i >/tmp/last; sleep 0.05; done' >/dev/null 2>&1 </dev/null
	wait_until 10 '[ "$(cat "$TEST_DIR/volume/last")" -gt 3 ]'
	checkpoint_image
	h delete "$ID"
	before=$(cat "$TEST_DIR/volume/last")
	h restore --store "$STORE" --image-path "$IMAGE" "$ID" </dev/null >"$OUT" 2>&1 3>&- 4>&- &
	wait_until 20 "[ \$(cat $TEST_DIR/volume/last) -gt $((before + 2)) ]"
	[ "$(h exec "$ID" cat /tmp/last)" -gt "$before" ]
	run ! h exec "$ID" touch /file
	in_microvm || [ "$(limit memory memory.limit_in_bytes memory.max)" = 67108864 ]
	h kill "$ID" KILL
	status=0
	wait $! || status=$?
	[ "$status" -eq 137 ] || fail "status $status" "$(cat "$OUT")"
	[ ! -e "$ROOT/$ID" ]
	[ -z "$(ls "$STORE/uses")" ]
}

@test "without the image, with ids of its own, altered: refused with the reason, and nothing is left" {
	start_image
	checkpoint_image
	h delete "$ID"
	printf x | dd of="$IMAGE/rootfs-diff.tar" bs=1 seek=700 conv=notrunc status=none
	run restore_image "$ID"
	expect_error 'rootfs-diff.tar. was altered'
	printf '\0' | dd of="$IMAGE/rootfs-diff.tar" bs=1 seek=700 conv=notrunc status=none
	start_sleeper "$ID-taken"
	run restore_image "$ID-taken"
	expect_error 'exists already'
	[ -z "$(ls "$STORE/uses")" ]
	name=$(h image list --store "$STORE" --format json | jq -r '.[0].name // .images[0].name')
	h image remove --store "$STORE" "$name" >/dev/null
	run restore_image "$ID"
	expect_error 'image .*sha256:.*not in the store: pull it'
	[ ! -e "$ROOT/$ID" ]
	grep -q '^hull:' /etc/subuid /etc/subgid || { echo hull:268435456:268435456 | tee -a /etc/subuid >>/etc/subgid; added=1; }
	start_image --userns auto
	[ -z "${added:-}" ] || sed -i '/^hull:/d' /etc/subuid /etc/subgid
	run checkpoint_image
	expect_error 'ids of its own'
	[ "$(container_status)" = running ]
}
