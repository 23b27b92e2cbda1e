#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull as the runtime under a real podman: storage and state in a temporary directory, an image made here, no network
# beyond this host.
# modes: cgroupfs systemd rootless rootless-systemd microvm

load helpers
load engines

setup_file()
{
	# What is missing is told by setup(): bats takes a skip in here for a failure.
	engine_can podman conmon || return 0
	engine_create
	podman_image
}

teardown_file()
{
	engine_remove
}

setup()
{
	engine_can podman conmon || skip "$ENGINE_LACKS"
	engine_command
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/t.XXXXXX")
	chown "$OWNER_ID:$OWNER_ID" "$TEST_DIR"
	ID=ht-$$-$BATS_TEST_NUMBER-$RANDOM
}

teardown()
{
	[ -n "${TEST_DIR:-}" ] || return 0
	if [ -n "$(engine_containers)" ]; then
		p pod rm --all --force --time 0 >/dev/null 2>&1 || true
		p rm --all --force --time 0 >/dev/null 2>&1 || true
	fi
	rm -rf "$TEST_DIR"
	wait_until 10 '[ -z "$(engine_left)" ]' || fail "left behind:" "$(engine_left)" # bats heeds only the status of the whole
}

# What hull or podman left of a container.
engine_left()
{
	engine_containers
	# (podman's --runtime-flag could name another state directory, but what cleans up after conmon does not get it)
	find "$HULL_STATE" -mindepth 1 -maxdepth 1 -regextype egrep -regex '.*/[0-9a-f]{64}' 2>/dev/null
	find /sys/fs/cgroup -type d -path '*libpod*' -name 'libpod-*' 2>/dev/null
	grep -laF -e "$ENGINE" /proc/[0-9]*/cmdline 2>/dev/null | xargs -r grep -l conmon 2>/dev/null
	awk -v dir="$ENGINE/" 'index($5, dir) == 1 && $5 ~ "(merged|shm)$" { print $5 }' /proc/self/mountinfo
}

# podman run without a network, which would cost seconds.
podman_run()
{
	p run --rm --network none "$@"
}

# podman_start [OPTION...] [-- COMMAND...]: a container that stays, named ID, ready.
podman_start()
{
	local options=() network=(--network none)

	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		[ "$1" != --pod ] || network=() # it has the pod's
		options+=("$1")
		shift
	done
	[ $# -gt 0 ] && shift || set -- sh -c "$SLEEPER"
	p run --detach --name "$ID" "${network[@]}" "${options[@]}" "$IMAGE" "$@" >/dev/null || return
	wait_until 30 'p logs "$ID" | grep -q ready'
}

podman_status()
{
	p inspect --format '{{.State.Status}}' "$ID"
}

# bats test_tags=microvm
@test "run: output, standard input and exit status" {
	run podman_run --interactive "$IMAGE" sh -c 'echo out; echo err >&2; cat; exit 7' <<<"a line"
	expect_status 7
	expect_match '^out$'
	expect_match '^err$'
	expect_match '^a line$'
}

# bats test_tags=microvm
@test "run: environment, user, groups, directory, names, limits and capabilities" {
	run podman_run --env VALUE=value --user 1000:2000 --group-add 3000 --workdir /tmp --hostname box \
		--ulimit nofile=100:200 --cap-drop all --sysctl net.ipv4.ip_unprivileged_port_start=80 --shm-size 1m \
		--add-host other:10.1.2.3 "$IMAGE" sh -c 'echo "$VALUE"; id; pwd; hostname; ulimit -n; ulimit -Hn
			grep -E "CapEff|Seccomp:" /proc/self/status; cat /proc/sys/net/ipv4/ip_unprivileged_port_start
			df -k /dev/shm | tail -n 1; grep other /etc/hosts'
	expect_status 0
	expect_match '^value$'
	expect_match '^uid=1000\(user\) gid=2000\(extra\) groups=.*3000'
	expect_match '^/tmp$'
	expect_match '^box$'
	expect_match '^100$'
	expect_match '^200$'
	expect_match 'CapEff:.0000000000000000'
	expect_match 'Seccomp:.2'
	expect_match '^80$'
	expect_match ' 1024 .*/dev/shm'
	expect_match '^10.1.2.3.*other'
}

# bats test_tags=microvm
@test "run: bind mounts and volumes, read-only and not; a root that is read-only" {
	mkdir "$TEST_DIR/data"
	echo "from the host" >"$TEST_DIR/data/file"
	run podman_run --read-only --read-only-tmpfs=false --volume "$TEST_DIR/data:/ro:ro" --volume "$TEST_DIR/data:/rw" \
		--volume "$ID:/named" "$IMAGE" sh -c 'cat /ro/file; echo changed >/rw/file; cat /ro/file; echo named >/named/x
			cat /named/x; touch /ro/new; touch /new'
	expect_status 1
	expect_match '^from the host$'
	expect_match '^changed$'
	expect_match '^named$'
	expect_match '/ro/new: Read-only'
	expect_match '/new: Read-only'
	p volume rm "$ID"
}

@test "run: temporary file systems have what was in the image" {
	run podman_run --tmpfs /etc --read-only "$IMAGE" sh -c 'grep -c user /etc/passwd; touch /etc/new /tmp/new; touch /new'
	expect_status 1
	expect_match '^1$'
	expect_match '/new: Read-only'
	expect_no_match '/(etc|tmp)/new'
}

# bats test_tags=everyday
@test "run: limits of memory, processors and processes are in force" {
	require_controller memory
	require_controller pids
	run podman_run --memory 64m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --pids-limit 33 "$IMAGE" \
		sh -c 'cd /sys/fs/cgroup; cat memory.max memory.low cpu.max cpu.weight pids.max'
	expect_status 0
	expect_output "67108864
33554432
50000 100000
59
33"
}

# bats test_tags=microvm
@test "run -it: a terminal with its size" {
	[ -x "$HELPERS/terminal" ] || skip "the helper programs are not built"
	run "$HELPERS/terminal" timeout --foreground 120 "${PODMAN[@]}" run --rm --network none -it "$IMAGE" \
		sh -c 'tty; until probe tty | grep -v " 0 0"; do sleep 0.05; done; printf "> "; read line; echo "got <$line>"' \
		<<<"a line" 3>&- 4>&-
	expect_status 0
	output=$(tr -d '\r' <<<"$output")
	expect_match '^/dev/(console|pts/0)$'
	expect_match '^tty 33 77$'
	expect_match '^got <a line>$'
}

# bats test_tags=microvm
@test "run: what fails has the exit status that podman documents, and hull's words" {
	run -127 podman_run "$IMAGE" /no/such/program
	expect_match 'hull: .*/no/such/program.*No such file'
	run -127 podman_run "$IMAGE" nosuchprogram
	expect_match 'hull: .*nosuchprogram.*not found'
	run podman_run "$IMAGE" /etc/passwd
	expect_status 126
	expect_match 'hull: .*/etc/passwd.*Permission denied'
	run podman_run "$IMAGE" /etc
	expect_status 126
	run "-$(in_microvm && echo 126 || echo 127)" podman_run --sysctl net.no.such=1 "$IMAGE" true # (a microVM sets it at the start)
	expect_match 'hull(-vm)?: .*net.no.such'
	run podman_run --device /dev/nosuchdevice "$IMAGE" true
	expect_status 125
}

# bats test_tags=everyday
@test "exec: output, status, user, directory, environment, input; what fails" {
	podman_start
	run p exec --interactive --user 1000 --workdir /tmp --env VALUE=value "$ID" sh -c 'id -u; pwd; echo "$VALUE"; cat; exit 5' <<<"a line"
	expect_status 5
	expect_output "1000
/tmp
value
a line"
	run -127 p exec "$ID" nosuchprogram
	run p exec "$ID" /etc/passwd
	expect_status 126
	# A container of podman's has a terminal for exec even where it has none itself.
	[ ! -x "$HELPERS/terminal" ] || {
		run "$HELPERS/terminal" timeout --foreground 120 "${PODMAN[@]}" exec -it "$ID" tty </dev/null 3>&- 4>&-
		expect_match '/dev/pts/0'
	}
	p exec --detach "$ID" sh -c 'echo detached >/tmp/detached'
	wait_until 20 'p exec "$ID" grep -q detached /tmp/detached'
}

# bats test_tags=everyday
@test "logs, top, stats, pause, unpause and kill" {
	podman_start --memory 64m -- sh -c 'trap "echo got USR1" USR1; echo ready; while :; do sleep 0.1; done'
	# It looks into the host's /proc, where a microVM has no processes.
	[ "$HULL_TEST_MODE" = microvm ] || {
		run p top "$ID" pid args
		expect_status 0
		expect_match '^1 +sh -c'
	}
	run p stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' "$ID"
	expect_status 0
	expect_match '/ 67.*MB [1-9]'
	p pause "$ID"
	[ "$(podman_status)" = paused ]
	run p exec "$ID" true
	[ "$status" -ne 0 ]
	p unpause "$ID"
	[ "$(podman_status)" = running ]
	p kill --signal USR1 "$ID"
	wait_until 20 'p logs "$ID" | grep -q "got USR1"'
	p kill "$ID"
	run p wait "$ID"
	expect_output 137
}

# bats test_tags=everyday
@test "stop, start, restart, and rm of a running container" {
	podman_start
	p stop "$ID"
	[ "$(p inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$ID")" = "exited 0" ]
	p start "$ID"
	[ "$(podman_status)" = running ]
	p restart "$ID"
	run p exec "$ID" echo again
	expect_output again
	p rm --force --time 0 "$ID"
	[ -z "$(engine_containers)" ]
}

@test "stop kills what does not want to end" {
	podman_start -- sh -c 'trap "" TERM; echo ready; while :; do sleep 0.1; done'
	p stop --time 1 "$ID"
	[ "$(p inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$ID")" = "exited 137" ]
}

# bats test_tags=everyday
@test "update changes a limit" {
	podman_start --memory 128m
	p update --memory 96m --cpus 0.25 "$ID" # (a microVM does not grow beyond what it was made with)
	run p exec "$ID" sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max'
	expect_output "100663296
25000 100000"
}

@test "an init process reaps and passes on the exit status" {
	require_cmd catatonit
	run podman_run --init "$IMAGE" sh -c 'cat /proc/1/comm; (sleep 0.1 &) ; sleep 1; ls /proc/*/stat | wc -l; exit 3'
	expect_status 3
	expect_match '^catatonit|podman-init'
}

@test "a paused container: copy, kill and rm; where a checkpoint is refused nothing happens" {
	podman_start
	if is_rootless || [ "$HULL_TEST_MODE" = microvm ]; then
		run p container checkpoint "$ID"
		[ "$status" -ne 0 ]
		[ "$(podman_status)" = running ]
	fi
	# (podman pauses a container while it copies)
	echo copied >"$TEST_DIR/file"
	p cp "$TEST_DIR/file" "$ID:/tmp/file"
	run p exec "$ID" cat /tmp/file
	expect_output copied
	p pause "$ID"
	run p exec "$ID" true
	[ "$status" -ne 0 ]
	p rm --force --time 0 "$ID"
	[ -z "$(engine_containers)" ]
}

@test "container checkpoint and restore, export and import, previous ones, a terminal" {
	! is_rootless && [ "$HULL_TEST_MODE" != microvm ] || skip "CRIU needs root, and a container"
	type -P criu >/dev/null || skip "criu is not installed"
	criu check >/dev/null 2>&1 || skip "CRIU does not work here"
	counter='echo ready; i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done'
	count()
	{
		p logs "$ID" | tr -d '\r' | tail -n 1
	}
	podman_start -- sh -c "$counter"
	p container checkpoint "$ID"
	[ "$(podman_status)" = exited ]
	before=$(count)
	p container restore "$ID"
	wait_until 20 "[ \$(count) -gt $before ]"
	p container checkpoint --pre-checkpoint --export "$TEST_DIR/before.tar.gz" "$ID"
	[ "$(podman_status)" = running ]
	p container checkpoint --with-previous --export "$TEST_DIR/after.tar.gz" "$ID"
	p rm --force --time 0 "$ID"
	p container restore --import "$TEST_DIR/after.tar.gz" --import-previous "$TEST_DIR/before.tar.gz" --name "$ID-b"
	ID=$ID-b
	wait_until 20 "[ \$(count) -gt $before ]"
	p container checkpoint --leave-running --export "$TEST_DIR/third.tar.gz" "$ID"
	[ "$(podman_status)" = running ]
	p rm --force --time 0 "$ID"
	ID=$ID-tty
	podman_start --tty -- sh -c "$counter"
	p container checkpoint "$ID"
	before=$(count)
	p container restore "$ID"
	wait_until 20 "[ \$(count) -gt $before ]"
}

@test "little memory is enough to start, and too little is told; much output through a terminal is whole" {
	require_controller memory
	run podman_run --memory 6m "$IMAGE" echo enough
	expect_status 0
	expect_output enough
	[ "$(p run --rm --tty --network none "$IMAGE" sh -c 'head -c 300000 /dev/zero | tr "\0" x' | wc -c)" = 300000 ]
}

# bats test_tags=microvm
@test "volumes whose ids are mapped, and tmpfs with its size" {
	mkdir "$TEST_DIR/data"
	echo "from the host" >"$TEST_DIR/data/file"
	run podman_run --uidmap 0:200000:65536 --gidmap 0:200000:65536 --volume "$TEST_DIR/data:/data:idmap" \
		--mount type=tmpfs,destination=/small,tmpfs-size=1m "$IMAGE" \
		sh -c 'stat -c %u /data/file; touch /data/new && df -k /small | tail -n 1'
	expect_status 0
	expect_match '^0$'
	expect_match ' 1024 .*/small$'
	[ "$(stat -c %u "$TEST_DIR/data/new")" = 0 ]
}

# The bridge and its rules go with a network namespace that is made for this test.
# bats test_tags=microvm
@test "a bridge network connects containers with the host" {
	require_cmd unshare ip
	unshare --net true 2>/dev/null || skip "network namespaces cannot be made"
	cat >"$TEST_DIR/script" <<-'SCRIPT'
		set -e
		ip link set lo up
		"$@" run --detach --name "$ID" --publish 127.0.0.1:8080:80 "$IMAGE" sh -c 'while :; do echo hello | nc -l -p 80; done'
		address=$("$@" inspect --format '{{.NetworkSettings.IPAddress}}' "$ID")
		echo "address $address"
		for i in $(seq 50); do
			answer=$(busybox nc -w 2 "$address" 80 </dev/null 2>/dev/null) && break
			sleep 0.2
		done
		echo "answer $answer"
		"$@" rm --force --time 0 "$ID"
	SCRIPT
	export ID IMAGE
	run unshare --net bash "$TEST_DIR/script" "${PODMAN[@]}" 3>&- 4>&-
	[[ "$output" != *[Mm]odule*not\ found* ]] || skip "this kernel has no bridge or packet filter"
	expect_status 0
	expect_match '^address 10\.'
	expect_match '^answer hello$'
}

@test "namespaces of the host and of another container" {
	run podman_run --pid host --ipc host --uts host --cgroupns host "$IMAGE" sh -c 'for n in pid ipc uts cgroup; do readlink /proc/self/ns/$n; done'
	expect_status 0
	expect_output "$(for n in pid ipc uts cgroup; do readlink /proc/self/ns/$n; done)"
	podman_start
	run p run --rm --network "container:$ID" --pid "container:$ID" "$IMAGE" sh -c 'readlink /proc/self/ns/net; cat /proc/1/cmdline'
	expect_status 0
	expect_match "$(p exec "$ID" readlink /proc/self/ns/net | sed 's/[][]/./g')"
	expect_match 'echo ready'
}

@test "a user namespace" {
	run podman_run --uidmap 0:200000:65536 --gidmap 0:300000:65536 "$IMAGE" sh -c 'cat /proc/self/uid_map /proc/self/gid_map; id -u
		touch /new && stat -c %u /new; echo x >/dev/null && echo "devices work"'
	expect_status 0
	expect_match '^ *0 +200000 +65536$'
	expect_match '^ *0 +300000 +65536$'
	expect_match 'devices work'
}

@test "privileges: a privileged container, devices, no seccomp, no new privileges" {
	run podman_run --privileged "$IMAGE" sh -c 'grep -E "CapEff|Seccomp:" /proc/self/status; ls /dev/kmsg; mount -t tmpfs none /tmp && echo mounted'
	expect_status 0
	expect_match 'Seccomp:.0'
	expect_match '^/dev/kmsg$'
	expect_match '^mounted$'
	[ -e /dev/loop-control ] || skip "no device here is in no default list"
	run podman_run --device /dev/loop-control:/dev/other:r --security-opt seccomp=unconfined --security-opt no-new-privileges "$IMAGE" \
		sh -c 'grep -E "Seccomp:|NoNewPrivs" /proc/self/status; (: </dev/other) && echo readable; (: >/dev/other) 2>/dev/null; echo "write $?"'
	expect_status 0
	expect_match 'Seccomp:.0'
	expect_match 'NoNewPrivs:.1'
	expect_match '^readable$'
	expect_match '^write 1$'
}

# bats test_tags=everyday
@test "without a cgroup" {
	run podman_run --cgroups disabled "$IMAGE" sh -c 'cat /proc/self/cgroup; echo hello'
	expect_status 0
	expect_match hello
}

# bats test_tags=rootless
@test "an ordinary user: ids, volumes, a user namespace that keeps the id, a network" {
	is_rootless || skip "for an ordinary user"
	require_cmd slirp4netns
	mkdir "$TEST_DIR/data"
	echo "from the host" >"$TEST_DIR/data/file"
	chown -R "$OWNER_ID:$OWNER_ID" "$TEST_DIR/data"
	run podman_run --volume "$TEST_DIR/data:/data" "$IMAGE" \
		sh -c 'id -u; awk "{ print \$1, \$2, \$3 }" /proc/self/uid_map; cat /data/file; touch /data/new; exit 7'
	expect_status 7
	expect_match '^0$'
	expect_match "^0 $OWNER_ID 1\$"
	expect_match '^from the host$'
	[ "$(stat -c %u "$TEST_DIR/data/new")" = "$OWNER_ID" ]
	run podman_run --userns keep-id --volume "$TEST_DIR/data:/data" "$IMAGE" \
		sh -c 'id -u; touch /data/kept; stat -c %u /data/kept'
	expect_status 0
	expect_output "$OWNER_ID
$OWNER_ID"
	run p run --rm "$IMAGE" sh -c 'ip -o link show tap0 | wc -l'
	expect_status 0
	expect_output 1
}

# podman 4.3 with cgroupfs gives a pod's cgroup a device filter that denies all, so that no runtime can make /dev/null in
# it. A pod may do without that cgroup, but not one of kube play.
pods_have_no_devices()
{
	[ "$HULL_TEST_MODE" = cgroupfs ] && [[ "$(p version --format '{{.Client.Version}}')" = 4.[0-3].* ]]
}

pod_parent()
{
	! pods_have_no_devices && echo --share-parent=true || echo --share-parent=false
}

# bats test_tags=everyday
@test "a pod's containers share namespaces" {
	container_only "namespaces of another container cannot be shared"
	require_cmd catatonit
	p pod create --name "$ID-pod" --network none --hostname pod "$(pod_parent)" >/dev/null
	podman_start --pod "$ID-pod"
	run p run --rm --pod "$ID-pod" "$IMAGE" sh -c 'hostname; for n in net ipc uts; do readlink /proc/self/ns/$n; done'
	expect_status 0
	expect_match '^pod$'
	shared=$(tail -n 3 <<<"$output")
	run p exec "$ID" sh -c 'for n in net ipc uts; do readlink /proc/self/ns/$n; done'
	expect_output "$shared"
	p pod pause "$ID-pod"
	[ "$(podman_status)" = paused ]
	p pod unpause "$ID-pod"
	p pod stop --time 1 "$ID-pod"
	p pod rm "$ID-pod"
	[ -z "$(engine_containers)" ]
}

# bats test_tags=everyday
@test "kube play of a pod" {
	container_only "namespaces of another container cannot be shared"
	require_cmd catatonit
	! pods_have_no_devices || skip "this podman with cgroupfs denies its pods all devices, under every runtime"
	cat >"$TEST_DIR/pod.yaml" <<-YAML
		apiVersion: v1
		kind: Pod
		metadata:
		  name: $ID
		spec:
		  restartPolicy: Never
		  containers:
		  - name: first
		    image: $IMAGE
		    imagePullPolicy: Never
		    command: ["sh", "-c", "echo \$WHO; sleep 1000"]
		    env:
		    - name: WHO
		      value: kube
		    resources:
		      limits:
		        memory: 64Mi
	YAML
	run p kube play --network none "$TEST_DIR/pod.yaml"
	expect_status 0
	wait_until 20 'p logs "$ID-first" | grep -qx kube'
	run p exec "$ID-first" cat /sys/fs/cgroup/memory.max
	expect_output 67108864
	p kube down "$TEST_DIR/pod.yaml"
	[ -z "$(engine_containers)" ]
}

# bats test_tags=everyday
@test "health checks" {
	podman_start --health-cmd 'test -e /tmp/healthy' --health-interval disable
	run p healthcheck run "$ID"
	expect_status 1
	p exec "$ID" touch /tmp/healthy
	run p healthcheck run "$ID"
	expect_status 0
}

# bats test_tags=everyday
@test "a container for systemd may make cgroups" {
	run podman_run --systemd always "$IMAGE" sh -c 'mkdir /sys/fs/cgroup/init.scope && echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs
		cat /proc/self/cgroup; echo "$container"; grep " /run " /proc/self/mountinfo'
	expect_status 0
	expect_match '^0::/init.scope$'
	expect_match ' /run .* - tmpfs '
}

# A system of systemd, and nothing else: a service that says where it is, and what ends it all.
make_system()
{
	local dir=$1 program lib=/lib/systemd

	cp -a "$(cached_rootfs)" "$dir"
	mkdir -p "$dir/run" "$dir/lib/systemd/system"
	for program in $lib/systemd $lib/systemd-shutdown /bin/systemctl; do
		mkdir -p "$dir$(dirname $program)"
		cp "$program" "$dir$program"
		ldd $program | grep -oE '/[^ ]+' | xargs -r cp --parents -Lt "$dir" --update
	done
	for program in halt.target shutdown.target umount.target final.target systemd-halt.service; do
		cp "$lib/system/$program" "$dir$lib/system/"
	done
	cat >"$dir$lib/system/default.target" <<-UNIT
		[Unit]
		Description=all there is
		Requires=test.service
	UNIT
	cat >"$dir$lib/system/test.service" <<-'UNIT'
		[Unit]
		DefaultDependencies=no
		[Service]
		MemoryMax=32M
		ExecStart=/bin/sh -c 'cat /proc/self/cgroup >/ready; exec sleep 1000'
	UNIT
	chown -R "$OWNER_ID:$OWNER_ID" "$dir"
}

# bats test_tags=everyday
@test "systemd as a container's init: its services have cgroups with limits, and it ends in order" {
	[ -x /lib/systemd/systemd ] && [ -x /lib/systemd/systemd-shutdown ] || skip "systemd is not installed"
	require_controller memory
	make_system "$TEST_DIR/system"
	p run --detach --name "$ID" --network none --systemd always --rootfs "$TEST_DIR/system" /lib/systemd/systemd >/dev/null
	wait_until 60 'grep -q test.service "$TEST_DIR/system/ready" || [ "$(podman_status)" != running ]'
	run cat "$TEST_DIR/system/ready"
	expect_output "0::/system.slice/test.service"
	run p exec "$ID" sh -c 'systemctl is-active test.service; cat /proc/1/comm'
	expect_status 0
	expect_output "active
systemd"
	# An ordinary user's cgroup has the controllers that systemd passes on, if that made it.
	[ "$HULL_TEST_MODE" = rootless ] || {
		run p exec "$ID" cat /sys/fs/cgroup/system.slice/test.service/memory.max
		expect_output 33554432
	}
	p stop --time 60 "$ID"
	# 130: SIGINT, which is how the kernel ends the init process of a namespace that asks for a halt.
	run p inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$ID"
	expect_match '^exited (0|130)$'
}

@test "descriptors are passed on" {
	run timeout 180 "${PODMAN[@]}" run --rm --network none --preserve-fds 1 "$IMAGE" sh -c 'cat <&3' \
		3<<<"through descriptor 3" 4>&-
	expect_status 0
	expect_output "through descriptor 3"
	podman_start
	run timeout 180 "${PODMAN[@]}" exec --preserve-fds 1 "$ID" sh -c 'cat <&3' 3<<<"the same for exec" 4>&-
	expect_output "the same for exec"
	# Environment and home of a process are those of its user.
	run p exec --user user "$ID" sh -c 'echo "$HOME"'
	expect_output /home
}

# bats test_tags=systemd
@test "in a unit of systemd's a container tells that it is ready" {
	[ "$HULL_TEST_MODE" = systemd ] || skip "for systemd and root"
	[ -x "$HELPERS/probe" ] || skip "the helper programs are not built"
	unit=unit-$ID
	mkdir "$TEST_DIR/data"
	systemd-run --quiet --collect --no-block --unit "$unit" --service-type notify -p NotifyAccess=all \
		-E CONTAINERS_CONF="$CONTAINERS_CONF" "${PODMAN[@]}" run --rm --name "$ID" --network none --sdnotify container \
		--volume "$TEST_DIR/data:/data" "$IMAGE" sh -c 'trap "exit 0" TERM
			touch /data/asked; while [ ! -e /data/go ]; do sleep 0.1; done; probe notify READY=1; while :; do sleep 0.1; done'
	wait_until 60 '[ -e "$TEST_DIR/data/asked" ]'
	[ "$(systemctl show --value --property ActiveState "$unit")" = activating ]
	touch "$TEST_DIR/data/go"
	wait_until 60 '[ "$(systemctl show --value --property ActiveState "$unit")" = active ]'
	[ "$(podman_status)" = running ]
	p stop "$ID"
	wait_until 60 '[ "$(systemctl show --value --property LoadState "$unit")" = not-found ]'
}

@test "podman finds its containers again after its own end, and cleans up after theirs" {
	podman_start --rm -- sh -c 'echo ready; while [ ! -e /tmp/end ]; do sleep 0.1; done'
	p exec "$ID" touch /tmp/end
	# conmon calls podman, which calls hull delete.
	wait_until 30 '[ -z "$(engine_left)" ]'
}
