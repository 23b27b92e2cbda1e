#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull run --image: from an image to a running workload, and back to nothing.
# modes: container microvm
# shellcheck disable=SC2154 # registry.bash sets them

load helpers
load image
load registry

setup()
{
	require_cmd jq
	hull_setup
	IMAGE=$TEST_DIR/image
	STORE=$TEST_DIR/store
	sandbox=()
	! in_microvm || sandbox=(--sandbox microvm)
	mkdir "$TEST_DIR/tree"
	cp -a "$(cached_rootfs)/." "$TEST_DIR/tree"
	mkdir "$TEST_DIR/tree/data"
	echo "of the image" >"$TEST_DIR/tree/data/file"
	chown -R 1000:1000 "$TEST_DIR/tree/data"
}

teardown()
{
	stop_servers
	hull_teardown
}

# pack [JSON]: makes the image from the tree, with this configuration.
pack()
{
	# shellcheck disable=SC2034 # for tar_image
	image_config=${1:-$image_config_default}
	tar -C "$TEST_DIR/tree" -cf "$TEST_DIR/layer.tar" .
	tar_image "$IMAGE" cat "$TEST_DIR/layer.tar"
}

# h_run [OPTION...] [ID [COMMAND...]]: runs the image.
h_run()
{
	h run "${sandbox[@]}" --store "$STORE" --quiet --image "oci:$IMAGE" "$@"
}

expect_store_empty()
{
	[ -z "$(ls "$STORE/uses")" ] || fail "left in the store: $(ls "$STORE/uses")"
	run "$HULL" image verify --store "$STORE"
	expect_status 0
}

# bats test_tags=quick,microvm
@test "one command: pull, run, and nothing is left but the image" {
	pack '{"Entrypoint": ["echo", "from"], "Cmd": ["the", "image"], "Env": ["A=1"]}'
	run h_run "$ID"
	expect_status 0
	expect_output "from the image"
	run h_run "$ID" the command line
	expect_output "from the command line"
	run h_run --entrypoint sh "$ID" -c 'echo $A; exit 7'
	expect_status 7
	expect_output 1
	run h_run "$ID" && expect_status 0
	run "$HULL" image list --store "$STORE" --quiet
	expect_output image:latest
	expect_store_empty
	expect_nothing_left
	! grep -q ' - overlay hull:' /proc/self/mountinfo
}

# bats test_tags=quick,microvm
@test "what is written lasts as long as the container, and no other sees it" {
	pack
	run h_run "$ID" sh -c 'echo new >/data/new; rm /data/file; cat /data/new; ls /data'
	expect_output $'new\nnew'
	run h_run "$ID" ls /data
	expect_output file
	expect_store_empty
}

# bats test_tags=quick,microvm
@test "from a registry with TLS and a password, pushed by another tool; the second time without it" {
	require_cmd skopeo docker-registry openssl curl
	pack '{"Cmd": ["sh", "-c", "cat /data/file; id -u"]}'
	registry_home
	start_registry tls password
	trust
	log_in user:secret
	skopeo copy --quiet --insecure-policy --dest-tls-verify=false --dest-creds user:secret \
		"oci:$IMAGE:latest" "docker://$registry/group/app:1"
	run h run "${sandbox[@]}" --store "$STORE" --image "docker://$registry/group/app:1" "$ID"
	expect_status 0
	expect_match "fetched"
	expect_match "^of the image$"
	expect_match "^0$"
	stop_servers
	run h run "${sandbox[@]}" --store "$STORE" --image "docker://$registry/group/app:1" "$ID"
	expect_output $'of the image\n0'
	run h run "${sandbox[@]}" --store "$STORE" --pull always --image "docker://$registry/group/app:1" "$ID"
	expect_error "$registry"
	run "$HULL" image list --store "$STORE" --quiet
	expect_output "$registry/group/app:1"
	expect_store_empty
}

# bats test_tags=quick
@test "names in the store, names of containers, and those that do not exist" {
	pack
	"$HULL" image pull --quiet --store "$STORE" "oci:$IMAGE" mine
	run h run "${sandbox[@]}" --store "$STORE" --image mine --name "$ID" hostname
	expect_status 0
	expect_output "${ID:0:64}"
	run h run "${sandbox[@]}" --store "$STORE" --image mine
	expect_status 0
	run h run --store "$STORE" --image other "$ID"
	expect_error "image .other. is not in the store; pull it"
	run h run --store "$STORE" --image "oci:$TEST_DIR/none" "$ID"
	expect_error "none"
	run h run --store "$STORE" --image mine "../$ID"
	expect_status 1
	run h_run --pull never "$ID"
	expect_status 1
	expect_store_empty
	expect_nothing_left
}

# bats test_tags=quick
@test "users are looked up in the image, and who is not root has no capabilities" {
	pack '{"User": "user", "Cmd": ["sh", "-c", "id; grep CapEff /proc/self/status"]}'
	run h_run "$ID"
	expect_match "^uid=1000.user. gid=1000.user. groups=.*2000.extra."
	expect_match "^CapEff:	0000000000000000"
	run h_run -u 5:6 "$ID" id
	expect_match "^uid=5 gid=6"
	run h_run -u user --cap-add net_raw "$ID" grep Cap /proc/self/status
	expect_match "^CapEff:	0000000000002000"
	run h_run -u 0 --cap-drop ALL --cap-add CHOWN "$ID" grep Cap /proc/self/status
	expect_match "^CapBnd:	0000000000000001"
	run h_run -u 0 --cap-drop ALL --cap-drop NET_RAW --cap-add CHOWN,KILL "$ID" grep CapBnd /proc/self/status
	expect_match "^CapBnd:	0000000000000021"
	run h_run --cap-add ALL --cap-drop ALL "$ID"
	expect_error "both have all capabilities"
	run h_run -u nobody "$ID"
	expect_error "option --user: user .nobody. is not in /etc/passwd of the image"
	run h_run --cap-add nonsense "$ID"
	expect_error "option --cap-add: .nonsense. is no capability"
	expect_store_empty
}

# bats test_tags=quick,microvm
@test "variables, the working directory, and the host name" {
	pack '{"Cmd": ["sh"], "Env": ["A=image", "B=image"], "WorkingDir": "/data"}'
	printf '# comment\nC=file\nFROM_HERE\n\nB=file\n' >"$TEST_DIR/env"
	FROM_HERE=here run h_run -e B=option --env-file "$TEST_DIR/env" --hostname name "$ID" \
		sh -c 'echo $A $B $C $FROM_HERE $HOSTNAME; pwd; hostname; tail -n1 /etc/hosts'
	expect_output $'image option file here name\n/data\nname\n127.0.1.1\tname'
	run h_run -w /new/dir "$ID" pwd
	expect_output /new/dir
	run h_run -w relative "$ID"
	expect_error "option --workdir: .relative. is not an absolute path"
	run h_run -e =x "$ID"
	expect_error "option --env: .=x. is no variable"
}

# bats test_tags=quick,microvm
@test "volumes, tmpfs, and a read-only root" {
	pack '{"Cmd": ["sh"], "Volumes": {"/data": {}, "/missing/volume": {}}}'
	mkdir "$TEST_DIR/host"
	echo host >"$TEST_DIR/host/file"
	run h_run -v "$TEST_DIR/host:/mnt" "$ID" sh -c 'cat /mnt/file; echo new >/mnt/new; ls -d /missing/volume; cat /data/file'
	expect_output $'host\n/missing/volume\nof the image'
	[ "$(cat "$TEST_DIR/host/new")" = new ]
	run h_run -v "$TEST_DIR/host:/mnt:ro,z" "$ID" touch /mnt/x
	expect_match "Read-only"
	run h_run --read-only "$ID" sh -c 'touch /x; touch /data/x /tmp/x /run/x && cat /data/file; stat -c %u /data'
	expect_match "/x: Read-only"
	expect_match "^of the image"
	expect_match "^1000"
	run h_run --tmpfs /t:size=1m,mode=700 "$ID" grep -c ' /t .*size=1024k' /proc/self/mountinfo
	expect_output 1
	run h_run -v nothing:/mnt "$ID"
	expect_error "option --volume .nothing:/mnt.: there are no volumes with names"
	run h_run -v "$TEST_DIR/absent:/mnt" "$ID"
	expect_error "find .*absent"
	for option in readonly RO O; do
		run h_run -v "$TEST_DIR/host:/mnt:$option" "$ID"
		expect_error "option .$option. is unknown"
	done
	mkdir "$TEST_DIR/host/sub"
	run h_run -v "$TEST_DIR/host/sub:/mnt/sub/" -v "$TEST_DIR/host:/mnt/" "$ID" sh -c 'touch /mnt/sub/below; ls /mnt'
	expect_match '^file$'
	[ -e "$TEST_DIR/host/sub/below" ]
	run h_run -v "$TEST_DIR/host:mnt" "$ID"
	expect_error "no place for a mount"
	expect_store_empty
}

# bats test_tags=quick
@test "the network is the loopback device, or the host's" {
	pack
	run h_run "$ID" sh -c 'ls /sys/class/net; ip addr show lo'
	expect_match '^lo$'
	expect_match '127.0.0.1/8'
	in_microvm || expect_no_match eth # a microVM has a device, which leads nowhere
	run h_run --network bridge "$ID"
	expect_error "option --network: .bridge.: give none"
	run h run --sandbox microvm --store "$STORE" --image "oci:$IMAGE" --network host "$ID"
	expect_error "option --network host: a microVM has a network of its own"
	! in_microvm || return 0
	run h_run --network host "$ID" sh -c 'readlink /proc/self/ns/net; cat /etc/resolv.conf'
	expect_output "$(readlink /proc/self/ns/net; cat /etc/resolv.conf)"
}

# bats test_tags=quick
@test "limits" {
	require_controller memory
	require_controller pids
	pack
	h_run -d --memory 64m --pids-limit 20 --cpus 0.5 "$ID" sleep 1000 </dev/null >"$OUT" 2>&1
	[ "$(jq -c '.linux.resources | [.memory.limit, .pids.limit, .cpu.quota, .cpu.period]' "$ROOT/$ID/config.json")" = '[67108864,20,50000,100000]' ]
	h delete --force "$ID"
	run h_run --memory much "$ID"
	expect_error "option --memory: .much. is no size"
	run h_run --cpus 0.001 "$ID"
	expect_error "option --cpus: .0.001. is less than"
	run h_run --cpus 1.x "$ID"
	expect_error "option --cpus"
	run h_run --pids-limit many "$ID"
	expect_error "option --pids-limit"
	expect_store_empty
}

# bats test_tags=quick
@test "the usual system calls work, and those around the walls do not" {
	pack
	run h_run "$ID" sh -c 'unshare -U true; mount -t tmpfs x /mnt; hostname new; grep ^Seccomp: /proc/self/status'
	expect_match "unshare.*not permitted"
	expect_match "mount.*(not permitted|denied)"
	expect_match "^Seccomp:	2"
	run h_run --security-opt seccomp=unconfined --security-opt no-new-privileges "$ID" grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status
	expect_match "^Seccomp:	0"
	expect_match "^NoNewPrivs:	1"
	echo '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}' >"$TEST_DIR/profile"
	run h_run --security-opt "seccomp=$TEST_DIR/profile" "$ID" mkdir /new
	expect_match "No space left"
	echo '{"defaultAction": "SCMP_ACT_ERRNO", "archMap": []}' >"$TEST_DIR/profile"
	run h_run --security-opt "seccomp=$TEST_DIR/profile" "$ID"
	expect_error "archMap"
}

# bats test_tags=quick,microvm
@test "input goes in with -i only, and a terminal is there with -t" {
	pack
	run h_run -i "$ID" cat <<<"typed"
	expect_output typed
	run h_run "$ID" cat <<<"typed"
	expect_output ""
	run script -qec "$HULL --root $ROOT run ${sandbox[*]} --store $STORE -q --image oci:$IMAGE -it $ID tty" /dev/null </dev/null
	expect_match "/dev/(pts/0|console)"
}

# with_ranges COMMAND...: in a mount namespace in which the files of sub-ids are $TEST_DIR/ranges.
with_ranges()
{
	# shellcheck disable=SC2016 # for that shell
	unshare -m sh -ec 'for file in subuid subgid; do touch /etc/$file; mount --bind "$0" /etc/$file; done
		exec "$@"' "$TEST_DIR/ranges" "$@"
}

# bats test_tags=quick
@test "ids that no other container has: the image's owners, written as they are, and none when all are taken" {
	local first

	pack
	run h run --sandbox microvm --store "$STORE" --image "oci:$IMAGE" --userns auto "$ID"
	expect_error "option --userns auto: a microVM's ids are its own"
	! in_microvm || return 0
	# Two containers' worth, and a piece that is too small.
	printf 'other:100000:65536\nhull:300000:60000\nhull:400000:131072\n' >"$TEST_DIR/ranges"
	auto=(with_ranges "$HULL" --root "$ROOT" run --store "$STORE" -q --image "oci:$IMAGE" --userns auto)
	run "${auto[@]}" "$ID" sh -c 'cat /proc/self/uid_map; stat -c %u:%g /data/file /etc/passwd; id -u
		echo x >/data/new; chown 5:6 /data/new; mkdir /d; stat -c %u:%g /data/new /d; hostname; ls -ld /etc/hosts'
	expect_status 0
	expect_match '^ *0 +400000 +65536$'
	expect_match $'^1000:1000\n0:0\n0\n5:6\n0:0\n'
	"${auto[@]}" -d "$ID" sh -c 'chown 7 /data/file; exec sleep 1000' </dev/null >"$OUT" 2>&1 3>&- 4>&-
	"${auto[@]}" -d "$ID-2" sleep 1000 </dev/null >>"$OUT" 2>&1 3>&- 4>&-
	first=$(h exec "$ID" cat /proc/self/uid_map)
	run h exec "$ID-2" cat /proc/self/uid_map
	[ "$output" != "$first" ]
	[[ $output$first == *400000*465536* ]] || [[ $output$first == *465536*400000* ]]
	wait_until 10 '[ "$(stat -c %u "$STORE"/uses/*/upper/data/file)" = 7 ]'
	run "${auto[@]}" "$ID-3" true
	expect_error "all ids are taken: 2 containers"
	h delete --force "$ID"
	run "${auto[@]}" "$ID-3" cat /proc/self/uid_map
	expect_output "$first"
	h delete --force "$ID-2"
	echo 'hull:400000:131072' >"$TEST_DIR/ranges"
	run with_ranges "$HULL" --root "$ROOT" run --store "$STORE" -q --image "oci:$IMAGE" --userns auto --network host "$ID" ls /sys/class/net
	expect_status 0
	echo 'other:400000:131072' >"$TEST_DIR/ranges"
	run "${auto[@]}" "$ID" true
	expect_error "option --userns auto: ./etc/subuid. has no ids for it"
	run h_run --userns keep-id "$ID"
	expect_error "option --userns: .keep-id.: give auto or host"
	expect_store_empty
}

# bats test_tags=quick
@test "options that contradict each other, or belong to bundles" {
	pack
	run h_run --rm -d "$ID"
	expect_error "option --rm cannot be given with --detach"
	run h_run -b "$BUNDLE" "$ID"
	expect_error "--bundle and --config cannot be given"
	run h run -b "$BUNDLE" -e A=1 "$ID"
	expect_error "option --env is for images"
	run h run "$ID" --image "oci:$IMAGE"
	expect_error "option --image must stand before the id"
	run h_run --hostname 'a b' "$ID"
	expect_error "option --hostname"
	run h_run --security-opt label=disable "$ID"
	expect_error "option --security-opt: .label=disable."
	expect_nothing_left
}

# bats test_tags=quick,microvm
@test "in the background it stays until it is deleted, and its layers as long" {
	pack
	h_run -d "$ID" sh -c 'echo mine >/data/mine; exec sleep 1000' </dev/null >"$OUT" 2>&1
	[ "$(container_status)" = running ]
	run h exec "$ID" cat /data/mine
	expect_output mine
	"$HULL" image remove --store "$STORE" image
	"$HULL" image prune --store "$STORE"
	run h exec "$ID" cat /data/file
	expect_output "of the image"
	h kill "$ID" KILL
	wait_stopped
	"$HULL" image prune --store "$STORE"
	[ -n "$(ls "$STORE/uses")" ] || fail "prune took away a stopped container's files"
	h delete "$ID"
	run "$HULL" image prune --store "$STORE"
	expect_match "[1-9] blobs and 1 layers removed"
	expect_store_empty
}

# bats test_tags=quick
@test "an id that is taken: the one who has it keeps all" {
	pack
	h_run -d "$ID" sleep 1000 </dev/null >"$OUT" 2>&1
	run h_run "$ID" true
	expect_error "exists"
	[ "$(ls "$STORE/uses" | wc -l)" = 1 ]
	run h exec "$ID" cat /data/file
	expect_output "of the image"
	h delete --force "$ID"
	expect_store_empty
}

# bats test_tags=quick
@test "a program that is not there is 127, and nothing is left" {
	pack
	run -127 h_run "$ID" /no/such/program
	pack '{}'
	run h_run "$ID"
	expect_error "does not say what to run"
	expect_store_empty
	expect_nothing_left
}

# bats test_tags=quick
@test "device nodes of an image are no devices, whoever looks after the others" {
	mknod -m 666 "$TEST_DIR/tree/null" c 1 3
	pack
	run h --cgroup-manager disabled run "${sandbox[@]}" --store "$STORE" -q --image "oci:$IMAGE" "$ID" sh -c 'echo x >/null; echo y >/dev/null && echo fine'
	expect_match "/null: Permission denied"
	expect_match "^fine$"
}

# bats test_tags=quick
@test "a state directory that was named from elsewhere: prune knows that the container is there" {
	pack
	cd "$TEST_DIR"
	mkdir elsewhere
	without_bats "$HULL" --root state run "${sandbox[@]}" -d --store "$STORE" -q --image "oci:$IMAGE" "$ID" true </dev/null >"$OUT" 2>&1
	wait_stopped
	cd elsewhere
	"$HULL" image remove --store "$STORE" image
	"$HULL" image prune --store "$STORE"
	[ -n "$(ls "$STORE/uses")" ]
	h delete "$ID"
	expect_store_empty
}

# bats test_tags=quick
@test "what a dead container leaves and nobody can remove stops no other" {
	local dead

	pack
	run h_run "$ID" true
	dead=$STORE/uses/0123456789abcdef
	mkdir -p "$dead/upper"
	jq -n '{image: "x:latest", state: "/no/such/directory", manifest: {mediaType: "x", digest: ("sha256:" + "0" * 64), size: 1}}' >"$dead/record"
	touch "$dead/upper/file"
	chattr +i "$dead/upper/file" || skip "no immutable files here"
	run h run "${sandbox[@]}" --store "$STORE" --image "oci:$IMAGE" "$ID" echo fine
	chattr -i "$dead/upper/file"
	expect_match "^fine$"
	expect_match "is left from a dead container"
	run h_run "$ID" true
	expect_store_empty
}

# bats test_tags=quick
@test "hostile images: /etc as links out of the tree, and a device in the place of a file" {
	rm -rf "$TEST_DIR/tree/etc/hosts"
	echo outside >"$TEST_DIR/outside"
	ln -s "$TEST_DIR/outside" "$TEST_DIR/tree/etc/hosts"
	mkfifo "$TEST_DIR/tree/etc/hostname"
	ln -s ../../../../../.. "$TEST_DIR/tree/up"
	pack '{"Volumes": {"/up/volume": {}, "../../escape": {}}}'
	run timeout 20 "$HULL" --root "$ROOT" run "${sandbox[@]}" --store "$STORE" -q --image "oci:$IMAGE" "$ID" ls -d /volume
	expect_status 0
	[ "$(cat "$TEST_DIR/outside")" = outside ]
	[ ! -e /volume ] && [ ! -e /escape ]
	expect_store_empty
}

@test "a full disk: an error that says so, and a store that is whole" {
	pack
	mkdir "$STORE"
	mount -t tmpfs -o size=16m,mode=700 store "$STORE"
	"$HULL" image pull --quiet --store "$STORE" "oci:$IMAGE" mine
	head -c 32m /dev/zero >"$STORE/filler" 2>/dev/null || true
	run h run "${sandbox[@]}" --store "$STORE" -q --image mine "$ID" true
	expect_error "No space left"
	rm -f "$STORE/filler"
	run h run "${sandbox[@]}" --store "$STORE" -q --image mine "$ID" true
	expect_status 0
	expect_store_empty
	umount "$STORE"
}

@test "killed at many moments: what is left goes with delete --force or the next run" {
	local i

	pack
	for i in $(seq 1 30); do
		"$HULL" --root "$ROOT" run "${sandbox[@]}" --store "$STORE" -q --image "oci:$IMAGE" "$ID" sleep 0.1 \
			</dev/null >"$OUT" 2>&1 3>&- 4>&- &
		sleep "0.0$((i % 10))$((RANDOM % 10))"
		{ kill -KILL $! && wait $!; } 2>/dev/null || true
		h delete --force "$ID"
	done
	# hull-image may still be at work, and gives up once nobody waits for it.
	wait_until 10 '! pgrep -f "hull-image.*$STORE"'
	run h_run "$ID" true
	expect_status 0
	expect_store_empty
	expect_nothing_left
}
