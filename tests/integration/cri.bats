#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hull under the Container Runtime Interface: pods and containers as a kubelet asks containerd for them, with a network by
# CNI plugins.
# modes: cgroupfs systemd
# shellcheck disable=SC2034 # what cri.bash reads

load helpers
load containerd
load cri

CNI=/usr/lib/cni # where Debian has the plugins

setup_file()
{
	# What is missing is told by setup(): bats takes a skip in here for a failure.
	has_containerd && type -P protoc >/dev/null || return 0
	containerd_configure
	mkdir "$DIR/cni"
	cat >"$DIR/cni/pods.conflist" <<-JSON
		{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods", "ipMasq": false,
			"ipam": {"type": "host-local", "dataDir": "$DIR/addresses", "subnet": "10.98.0.0/24"}}]}
	JSON
	cat >>"$DIR/config.toml" <<-TOML
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "localhost/test:pause"
		netns_mounts_under_state_dir = true
		restrict_oom_score_adj = true
		stream_server_address = "127.0.0.1"
		[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "$CNI"
		conf_dir = "$DIR/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd]
		snapshotter = "native"
		default_runtime_name = "hull"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hull]
		runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hull.options]
		BinaryName = "$HULL"
		Root = "$DIR/runc"
		SystemdCgroup = $([ "${HULL_TEST_MODE:-}" = systemd ] && echo true || echo false)
	TOML
	containerd_start
	make_image "$DIR/image"
	umoci config --image "$DIR/image:latest" --tag pause --config.cmd sleep --config.cmd 1000000
	tar -C "$DIR/image" -cf "$DIR/image.tar" .
	c --namespace k8s.io image import --base-name localhost/test "$DIR/image.tar" >&2
	TEST_DIR=$DIR
	# The CRI hears of images a moment later.

	for tag in latest pause; do
		wait_until 20 "cri ImageStatus <<<'image { image: \"localhost/test:$tag\" }' | grep -q localhost/test" || fail "$(cat "$DIR/log")"
	done
}

teardown_file()
{
	containerd_remove
}

setup()
{
	require_containerd
	require_cmd curl protoc
	require_controller cpu # every pod has CPU shares
	[ -x "$CNI/bridge" ] || skip "the CNI plugins are not installed"
	ID=ht-$$-$BATS_TEST_NUMBER-$RANDOM
	TEST_DIR=$(mktemp -d "$HULL_TEST_WORK/t.XXXXXX")
	mkdir "$TEST_DIR/logs"
	IMAGE=localhost/test:latest
	ROOT=$DIR/runc
	CGROUP_PARENT=/$ID
	[ "${HULL_TEST_MODE:-}" != systemd ] || CGROUP_PARENT=${ID//-/_}.slice
}

# bats heeds only the status of the whole.
teardown()
{
	local left

	[ -n "${TEST_DIR:-}" ] || return 0
	if [ -n "${POD:-}" ]; then
		cri StopPodSandbox <<<"pod_sandbox_id: \"$POD\"" || true
		cri RemovePodSandbox <<<"pod_sandbox_id: \"$POD\"" || true
	fi
	left=$(ls -A "$ROOT/k8s.io" 2>/dev/null) || true
	[ -n "${BATS_TEST_COMPLETED:-}" ] && [ -z "$left" ] || containerd_log
	# The parent is the kubelet's to make and to remove.
	case $CGROUP_PARENT in
	*.slice) systemctl stop "$CGROUP_PARENT" ;;
	*) find /sys/fs/cgroup -depth -type d -name "$ID" -exec rmdir {} + ;;
	esac
	rm -rf "$TEST_DIR"
	[ -z "$left" ] || fail "left behind: $left" || return
	expect_nothing_left
}

# bats test_tags=everyday
@test "cri: a pod, a container, exec, statistics, update, log, stop and remove" {
	cri_run_pod
	[ "$(cri PodSandboxStatus <<<"pod_sandbox_id: \"$POD\"" | cri_field runtime_handler)" = hull ]
	RESOURCES='oom_score_adj: 500'
	cri_start first 'envs { key: "VALUE" value: "value" }' \
		sh -c 'trap "exit 7" TERM; echo "out $VALUE"; echo "err" >&2; while :; do sleep 0.1; done'
	[ "$(cri_status state)" = CONTAINER_RUNNING ]
	run cri_exec sh -c 'hostname; cat /proc/1/oom_score_adj; echo "to err" >&2; exit 3'
	expect_status 3
	expect_output "pod
500
to err"
	wait_until 20 'grep -q "stdout F out value" "$TEST_DIR/logs/first.log" && grep -q "stderr F err" "$TEST_DIR/logs/first.log"'

	pid=$("$HULL" --root "$ROOT/k8s.io" state "$CONTAINER" | jq .pid)
	if [ "${HULL_TEST_MODE:-}" = systemd ]; then
		[ "$(systemctl show --value --property Slice "cri-containerd-$CONTAINER.scope")" = "$CGROUP_PARENT" ]
		[[ "$(cut -d: -f3 "/proc/$pid/cgroup")" = */$CGROUP_PARENT/cri-containerd-$CONTAINER.scope ]]
	else
		grep -q "$CGROUP_PARENT/$CONTAINER\$" "/proc/$pid/cgroup"
	fi

	if has_controller memory && has_controller cpu; then
		run cri ContainerStats <<<"container_id: \"$CONTAINER\""
		expect_status 0
		grep -A1 usage_core_nano_seconds <<<"$output" | grep -q 'value: [1-9]'
		grep -A1 working_set_bytes <<<"$output" | grep -q 'value: [1-9]'
		cri UpdateContainerResources <<<"container_id: \"$CONTAINER\"
			linux { memory_limit_in_bytes: 67108864 cpu_quota: 50000 cpu_period: 100000 }"
		[ "$(ID=$CONTAINER limit memory memory.limit_in_bytes memory.max)" = 67108864 ]
		[[ "$(ID=$CONTAINER limit cpu cpu.cfs_quota_us cpu.max)" = 50000* ]]
	fi

	cri StopContainer <<<"container_id: \"$CONTAINER\" timeout: 30"
	[ "$(cri_status state) $(cri_status exit_code)" = "CONTAINER_EXITED 7" ]
	cri RemoveContainer <<<"container_id: \"$CONTAINER\""
	cri StopPodSandbox <<<"pod_sandbox_id: \"$POD\""
	[ "$(cri PodSandboxStatus <<<"pod_sandbox_id: \"$POD\"" | cri_field state)" = SANDBOX_NOTREADY ]
	cri RemovePodSandbox <<<"pod_sandbox_id: \"$POD\""
	[ -z "$(cri ListPodSandbox </dev/null)" ]
	POD=
}

@test "cri: what a container may be given: users, mounts, a read-only root, privileges" {
	cri_run_pod
	mkdir "$TEST_DIR/data"
	echo "from the host" >"$TEST_DIR/data/file"
	SECURITY='run_as_user { value: 1000 } run_as_group { value: 2000 } readonly_rootfs: true no_new_privs: true
		capabilities { drop_capabilities: "ALL" }'
	cri_start plain "working_dir: \"/tmp\"
		mounts { container_path: \"/rw\" host_path: \"$TEST_DIR/data\" }
		mounts { container_path: \"/ro\" host_path: \"$TEST_DIR/data\" readonly: true }" sleep 1000
	run cri_exec sh -c 'id; pwd; cat /rw/file; touch /new; grep -E "CapBnd|NoNewPrivs|Seccomp:" /proc/self/status'
	expect_status 0
	expect_match '^uid=1000\(user\) gid=2000\(extra\)'
	expect_match '^/tmp$'
	expect_match '^from the host$'
	expect_match '/new: Read-only'
	expect_match 'CapBnd:.0000000000000000'
	expect_match 'NoNewPrivs:.1'
	SECURITY='readonly_rootfs: true'
	cri_start root "mounts { container_path: \"/ro\" host_path: \"$TEST_DIR/data\" readonly: true }" sleep 1000
	run cri_exec touch /ro/new
	expect_status 1
	expect_match '/ro/new: Read-only'
}

@test "cri: a privileged pod with the host's network and names" {
	POD_SECURITY='privileged: true'
	NAMESPACES='network: NODE pid: CONTAINER'
	cri_run_pod
	SECURITY='privileged: true'
	cri_start privileged '' sleep 1000
	run cri_exec sh -c 'ls /dev/kmsg; mount -t tmpfs none /tmp && echo mounted; grep CapEff /proc/self/status; readlink /proc/self/ns/net
		hostname'
	expect_status 0
	expect_match '^/dev/kmsg$'
	expect_match '^mounted$'
	expect_match "^$(hostname)$"
	expect_match "$(readlink "/proc/$(cat "$DIR/pid")/ns/net" | sed 's/[][]/./g')"
}

@test "cri: containers of a pod share its network and, when asked, its processes; a sysctl is the pod's" {
	POD_LINUX='sysctls { key: "net.ipv4.ip_unprivileged_port_start" value: "80" }'
	NAMESPACES='pid: POD'
	cri_run_pod
	ip=$(cri PodSandboxStatus <<<"pod_sandbox_id: \"$POD\"" | cri_field ip)
	[[ $ip = 10.98.0.* ]]
	cri_start server '' sh -c 'while :; do echo hello | nc -l -p 80; done'
	cri_start client '' sleep 1000
	run cri_exec sh -c 'ip -o addr show eth0; for i in $(seq 100); do nc -w 2 127.0.0.1 80 </dev/null && break; sleep 0.1; done
		cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ps'
	expect_status 0
	expect_match "$ip/24"
	expect_match '^hello$'
	expect_match '^80$'
	expect_match 'sleep 1000000' # the pause container
	expect_match 'nc -l -p 80'
}

@test "cri: what fails has hull's words, and what runs out of memory or time is told" {
	cri_run_pod
	cri_create missing '' /no/such/program
	run cri StartContainer <<<"container_id: \"$CONTAINER\""
	[ "$status" -ne 0 ]
	expect_match 'OCI runtime create failed: .*/no/such/program.*[Nn]o such file'
	[ "$(cri_status state) $(cri_status reason) $(cri_status exit_code)" = "CONTAINER_EXITED StartError 128" ]

	RESOURCES='memory_limit_in_bytes: 16777216'
	cri_start hungry '' sh -c 'sleep 1; exec tail /dev/zero'
	wait_until 60 '[ "$(cri_status state)" = CONTAINER_EXITED ]'
	[ "$(cri_status reason) $(cri_status exit_code)" = "OOMKilled 137" ]

	RESOURCES=
	cri_start plain '' sleep 1000
	run cri_exec /no/such/program
	expect_status 255
	expect_match 'OCI runtime exec failed: .*/no/such/program.*[Nn]o such file'
	run cri ExecSync <<<"container_id: \"$CONTAINER\" timeout: 1 cmd: \"sleep\" cmd: \"1001\""
	[ "$status" -ne 0 ]
	expect_match 'timeout 1s exceeded|deadline exceeded'
	run cri_exec ps
	expect_no_match 'sleep 1001'
}

@test "cri: containerd restarted knows its pods; a container whose processes were killed has ended" {
	cri_run_pod
	cri_start first '' sleep 1000
	containerd_stop
	containerd_start
	wait_until 20 '[ "$(cri_status state)" = CONTAINER_RUNNING ]'
	run cri_exec echo "still here"
	expect_output "still here"
	kill -KILL "$("$HULL" --root "$ROOT/k8s.io" state "$CONTAINER" | jq .pid)"
	wait_until 20 '[ "$(cri_status state)" = CONTAINER_EXITED ]'
	[ "$(cri_status exit_code)" = 137 ]
}
