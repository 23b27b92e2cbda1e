#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# How the kernel treats the process: scheduler, I/O priority, CPUs, memory nodes, personality.

load helpers

# Prints nice value, real-time priority and policy (proc(5)) of the shell itself, without a fork.
SHOW='read -r line </proc/self/stat; set -- ${line##*) }; echo "nice ${17} priority ${38} policy ${39}"'

# process_file FILTER: a process object for exec --process, from the container's own.
process_file()
{
	jq --argjson args "$(jq -n '$ARGS.positional' --args -- "${@:2}")" \
		".process | .args = \$args | $1" "$BUNDLE/config.json" >"$TEST_DIR/process.json"
}

exec_process()
{
	process_file "$@"
	run h exec --process "$TEST_DIR/process.json" "$ID"
}

may_be_realtime()
{
	chrt -f 1 true 2>/dev/null || skip "no real-time scheduling here"
	# Where the kernel divides real-time among cgroups, a new one has none.
	! ls /sys/fs/cgroup/cpu*/cpu.rt_runtime_us >/dev/null 2>&1 ||
		update_config '.linux.resources.cpu = {realtimeRuntime: 100000, realtimePeriod: 1000000}'
}

# ---- scheduler --------------------------------------------------------------------------------

# bats test_tags=quick
@test "policies and nice values" {
	update_config '.process.scheduler = {policy: "SCHED_BATCH", nice: 5}'
	run_script "$SHOW"
	expect_output "nice 5 priority 0 policy 3"
	update_config '.process.scheduler = {policy: "SCHED_IDLE"}'
	run_script "$SHOW"
	expect_output "nice 0 priority 0 policy 5"
	update_config '.process.scheduler = {policy: "SCHED_OTHER", nice: -7}'
	run_script "$SHOW"
	expect_output "nice -7 priority 0 policy 0"
}

@test "a nice value that is not there is 0" {
	update_config '.process.scheduler = {policy: "SCHED_OTHER"}'
	set_args sh -c "$SHOW"
	run without_bats nice -n 9 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_output "nice 0 priority 0 policy 0"
	# What hull inherits is the machine's in a microVM.
	in_microvm && return
	update_config 'del(.process.scheduler)'
	run without_bats nice -n 9 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_no_match "^nice 0 "
}

# bats test_tags=quick
@test "real-time policies, for a user who may not set them" {
	may_be_realtime
	update_config '.process.user = {uid: 1000, gid: 1000} | del(.process.capabilities)
		| .process.scheduler = {policy: "SCHED_FIFO", priority: 10}'
	run_script "$SHOW"
	expect_output "nice 0 priority 10 policy 1"
	update_config '.process.scheduler = {policy: "SCHED_RR", priority: 99}'
	run_script "$SHOW"
	expect_output "nice 0 priority 99 policy 2"
	# Also where the process' own privilege does not count.
	update_config '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
		| .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}]'
	run_script "$SHOW"
	expect_output "nice 0 priority 99 policy 2"
}

@test "children do not inherit what is reset on fork" {
	may_be_realtime
	update_config '.process.scheduler = {policy: "SCHED_FIFO", priority: 10, flags: ["SCHED_FLAG_RESET_ON_FORK"]}'
	run_script "sh -c '$SHOW'; true"
	expect_output "nice 0 priority 0 policy 0"
}

@test "a deadline, behind hooks that fork" {
	update_config '.process.scheduler = {policy: "SCHED_DEADLINE", runtime: 1000000, deadline: 5000000,
			period: 10000000}
		| .hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "cat >/tmp/hook; cat /tmp/hook >/tmp/again"]}]'
	has_deadlines
	run_script "$SHOW"
	expect_output "nice 0 priority 0 policy 6"
	[ -s "$BUNDLE/rootfs/tmp/again" ]
}

has_deadlines()
{
	chrt -d --sched-runtime 1000000 --sched-deadline 5000000 --sched-period 10000000 0 true 2>/dev/null ||
		skip "no deadline scheduling here"
}

@test "runtime, deadline and period reach the kernel, and the flags of a deadline" {
	has_deadlines
	set_args probe scheduler
	update_config '.process.scheduler = {policy: "SCHED_DEADLINE", runtime: 1000000, deadline: 5000000, period: 10000000}'
	run h run --bundle "$BUNDLE" "$ID"
	expect_output "policy 6 flags 0 nice 0 priority 0 runtime 1000000 deadline 5000000 period 10000000"
	for flag in SCHED_FLAG_RESET_ON_FORK=0x1 SCHED_FLAG_RECLAIM=0x2 SCHED_FLAG_DL_OVERRUN=0x4; do
		update_config --arg f "${flag%=*}" '.process.scheduler.flags = [$f]'
		run h run --bundle "$BUNDLE" "$ID"
		expect_match "^policy 6 flags ${flag#*=} "
	done
}

@test "the flags that keep policy or parameters keep them" {
	update_config '.process.scheduler = {policy: "SCHED_IDLE", nice: 4, flags: ["SCHED_FLAG_KEEP_POLICY"]}'
	set_args probe scheduler
	run h run --bundle "$BUNDLE" "$ID"
	expect_match '^policy 0 flags 0 nice 4 '
	# The kernel counts the policy among the parameters.
	update_config '.process.scheduler = {policy: "SCHED_IDLE", flags: ["SCHED_FLAG_KEEP_PARAMS"]}'
	run without_bats nice -n 9 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_match "^policy 0 flags 0 nice $(in_microvm && echo 0 || echo 9) "
}

@test "a deadline that is more than the machine has is refused with the reason" {
	has_deadlines
	update_config '.process.scheduler = {policy: "SCHED_DEADLINE", runtime: 1000000000000,
		deadline: 2000000000000, period: 2000000000000}'
	run_script true
	expect_error "/process/scheduler: set SCHED_DEADLINE"
	expect_nothing_left
}

@test "schedulers that cannot be are refused before anything is made" {
	update_config '.process.scheduler = {policy: "SCHED_ISO"}'
	run_script true
	expect_error '/process/scheduler/policy: Linux has no'
	update_config '.process.scheduler = {policy: "SCHED_OTHER", flags: ["SCHED_FLAG_UTIL_CLAMP_MAX"]}'
	run_script true
	expect_error '/process/scheduler/flags/0'
	update_config '.process.scheduler = {policy: "SCHED_FIFO", priority: 0}'
	run_script true
	expect_error '/process/scheduler/priority'
	expect_nothing_left
}

@test "an exec has the scheduler of its own process object" {
	start_sleeper
	exec_process '.scheduler = {policy: "SCHED_BATCH", nice: -3}' sh -c "$SHOW"
	expect_output "nice -3 priority 0 policy 3"
	exec_process '.user = {uid: 1000} | del(.capabilities) | .scheduler = {policy: "SCHED_OTHER", nice: -3}' sh -c "$SHOW"
	expect_output "nice -3 priority 0 policy 0"
	exec_process '.scheduler = {policy: "SCHED_ISO"}' true
	expect_error '/scheduler/policy: Linux has no'
}

@test "an exec without one has the container's" {
	update_config '.process.scheduler = {policy: "SCHED_IDLE"}'
	start_sleeper
	run h exec "$ID" sh -c "$SHOW"
	expect_output "nice 0 priority 0 policy 5"
}

# ---- I/O priority -----------------------------------------------------------------------------

# bats test_tags=quick
@test "I/O priorities" {
	update_config '.process.ioPriority = {class: "IOPRIO_CLASS_BE", priority: 6}'
	run_script 'ionice; sh -c ionice'
	expect_output "best-effort: prio 6
best-effort: prio 6"
	update_config '.process.ioPriority = {class: "IOPRIO_CLASS_IDLE", priority: 0}'
	run_script ionice
	expect_match "^idle"
}

@test "a real-time I/O priority, for a user who may not set it" {
	ionice -c 1 -n 3 true 2>/dev/null || skip "no real-time I/O priority here"
	update_config '.process.user = {uid: 1000, gid: 1000} | del(.process.capabilities)
		| .process.ioPriority = {class: "IOPRIO_CLASS_RT", priority: 3}'
	run_script ionice
	expect_output "realtime: prio 3"
}

@test "an exec has the I/O priority of its process object" {
	start_sleeper
	exec_process '.ioPriority = {class: "IOPRIO_CLASS_BE", priority: 1}' ionice
	expect_output "best-effort: prio 1"
	exec_process '.ioPriority = {class: "IOPRIO_CLASS_BE", priority: 8}' ionice
	expect_error '/ioPriority/priority: 8 is out of range'
}

# ---- CPUs -------------------------------------------------------------------------------------

CPUS='grep Cpus_allowed_list /proc/self/status | cut -f2'

# bats test_tags=quick
@test "an exec runs on the CPUs of execCPUAffinity" {
	[ "$(nproc)" -gt 1 ] || skip "one CPU only"
	all=$(taskset -pc $$ | sed 's/.*: //')
	last=${all##*[,-]}
	start_sleeper
	exec_process ".execCPUAffinity = {initial: \"$last\", final: \"$last\"}" sh -c "$CPUS"
	expect_output "$last"
	exec_process ".execCPUAffinity = {final: \"$last\"}" sh -c "$CPUS"
	expect_output "$last"
	# Without a final one those of the container, whatever hull itself was on.
	exec_process ".execCPUAffinity = {initial: \"$last\"}" sh -c "$CPUS"
	expect_output "$(sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status)"
}

@test "hull itself moves to the initial CPUs, and the container's are the end" {
	[ "$(nproc)" -gt 1 ] || skip "one CPU only"
	require_controller cpuset
	all=$(taskset -pc $$ | sed 's/.*: //')
	first=${all%%[,-]*} last=${all##*[,-]}
	update_config --arg cpus "$first" '.linux.resources.cpu = {cpus: $cpus}'
	start_sleeper
	process_file ".execCPUAffinity = {initial: \"$last\"}" sh -c "$CPUS; touch /tmp/there; sleep 5"
	h exec --process "$TEST_DIR/process.json" "$ID" >"$TEST_DIR/cpus" &
	hull=$!
	wait_until 10 "[ -e '$BUNDLE/rootfs/tmp/there' ]"
	pid=$(pgrep -f -- "exec --process $TEST_DIR/process.json" | head -n 1)
	[ "$(sed -n 's/^Cpus_allowed_list:\t//p' "/proc/$pid/status")" = "$last" ]
	[ "$(cat "$TEST_DIR/cpus")" = "$first" ]
	wait "$hull"
	exec_process ".execCPUAffinity = {final: \"$last\"}" sh -c "$CPUS"
	expect_error "/process/execCPUAffinity/final: none of the CPUs"
}

@test "CPUs for exec are none of the init process' business, and checked" {
	[ "$(nproc)" -gt 1 ] || skip "one CPU only"
	update_config '.process.execCPUAffinity = {initial: "0", final: "0"}'
	set_args sh -c "$CPUS >/tmp/cpus; sleep 100"
	start_container
	wait_until 5 "[ -s '$BUNDLE/rootfs/tmp/cpus' ]"
	[ "$(cat "$BUNDLE/rootfs/tmp/cpus")" = "$(sed -n 's/^Cpus_allowed_list:\t//p' /proc/self/status)" ]
	# An exec without a process object has the container's.
	run h exec "$ID" sh -c "$CPUS"
	expect_output 0
	exec_process '.execCPUAffinity = {final: "3-0"}' true
	expect_error '/execCPUAffinity/final'
	exec_process '.execCPUAffinity = {final: "8000"}' true
	expect_error '/execCPUAffinity/final: none of the CPUs'
}

# ---- memory -----------------------------------------------------------------------------------

# bats test_tags=quick
@test "a memory policy holds for the process, its children and execs" {
	[ -e /proc/self/numa_maps ] || skip "a kernel without NUMA"
	update_config '.linux.memoryPolicy = {mode: "MPOL_BIND", nodes: "0", flags: ["MPOL_F_STATIC_NODES"]}'
	set_args sh -c 'for f in /proc/$$/numa_maps /proc/self/numa_maps; do grep -c "bind=static:0" $f; done >/tmp/maps
		sleep 100'
	start_container
	wait_until 5 "[ \$(wc -l <'$BUNDLE/rootfs/tmp/maps') -eq 2 ]"
	run cat "$BUNDLE/rootfs/tmp/maps"
	expect_no_match '^0$'
	run h exec "$ID" grep -c "bind=static:0" /proc/self/numa_maps
	expect_status 0
}

@test "memory policies without nodes" {
	[ -e /proc/self/numa_maps ] || skip "a kernel without NUMA"
	update_config '.linux.memoryPolicy = {mode: "MPOL_LOCAL"}'
	run_script 'grep -c " local " /proc/self/numa_maps'
	expect_status 0
	update_config '.linux.memoryPolicy = {mode: "MPOL_DEFAULT", nodes: ""}'
	run_script 'grep -c " default " /proc/self/numa_maps'
	expect_status 0
	update_config '.linux.memoryPolicy = {mode: "MPOL_INTERLEAVE", nodes: "0"}'
	run_script 'grep -c " interleave:0 " /proc/self/numa_maps'
	expect_status 0
}

# Prints what numa_maps(5) says of a policy; skips where the kernel has it not.
shown_policy()
{
	run_script 'grep -oE "^[0-9a-f]+ [^ ]*( \(many\)[^ ]*| interleave[^ ]*)?" /proc/self/numa_maps | head -n 1 | cut -d" " -f2-'
	[[ "$output" != *"set MPOL_"*"Invalid argument"* ]] || skip "this kernel does not have $1"
}

@test "each mode and each flag of a memory policy is in force" {
	[ -e /proc/self/numa_maps ] || skip "a kernel without NUMA"
	for case in 'MPOL_PREFERRED prefer:0' 'MPOL_PREFERRED_MANY prefer (many):0' 'MPOL_INTERLEAVE interleave:0' \
		'MPOL_BIND bind:0' 'MPOL_BIND+MPOL_F_STATIC_NODES bind=static:0' 'MPOL_BIND+MPOL_F_RELATIVE_NODES bind=relative:0' \
		'MPOL_BIND+MPOL_F_NUMA_BALANCING bind=balancing:0' 'MPOL_WEIGHTED_INTERLEAVE weighted interleave:0'; do
		what=${case%% *}
		update_config --arg w "$what" '.linux.memoryPolicy = ($w / "+" | {mode: .[0], nodes: "0", flags: .[1:]})'
		shown_policy "$what"
		expect_output "${case#* }"
	done
}

@test "memory policies that cannot be are refused with the place" {
	update_config '.linux.memoryPolicy = {mode: "MPOL_BIND"}'
	run_script true
	expect_error '/linux/memoryPolicy/nodes: MPOL_BIND needs nodes'
	update_config '.linux.memoryPolicy = {nodes: "0"}'
	run_script true
	expect_error '/linux/memoryPolicy/mode: is missing'
	update_config '.linux.memoryPolicy = {mode: "MPOL_BIND", nodes: "1000"}'
	run_script true
	expect_error '/linux/memoryPolicy: set MPOL_BIND on nodes `1000`'
	expect_nothing_left
}

# ---- personality ------------------------------------------------------------------------------

# bats test_tags=quick
@test "personality" {
	[ "$(uname -m)" = x86_64 ] || skip "for x86_64"
	update_config '.linux.personality = {domain: "LINUX32"}'
	set_args sh -c 'uname -m; sleep 100'
	start_container
	wait_until 5 "[ -s '$OUT' ]"
	[ "$(cat "$OUT")" = i686 ]
	run h exec "$ID" uname -m
	expect_output i686
	h delete --force "$ID"
	update_config '.linux.personality = {domain: "LINUX"}'
	set_args uname -m
	run without_bats setarch linux32 "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_output x86_64
}

# bats test_tags=quick
@test "the flags of personality(2) are in force, for an exec, too" {
	while read -r flag value; do
		update_config --arg f "$flag" '.linux.personality = {domain: "LINUX", flags: [$f]}'
		run_script 'cat /proc/self/personality'
		expect_output "$value"
	done <<-FLAGS
		UNAME26 00020000
		ADDR_NO_RANDOMIZE 00040000
		FDPIC_FUNCPTRS 00080000
		MMAP_PAGE_ZERO 00100000
		ADDR_COMPAT_LAYOUT 00200000
		ADDR_LIMIT_32BIT 00800000
		SHORT_INODE 01000000
		WHOLE_SECONDS 02000000
		STICKY_TIMEOUTS 04000000
		ADDR_LIMIT_3GB 08000000
	FLAGS
	update_config '.linux.personality = {domain: "LINUX32", flags: ["ADDR_NO_RANDOMIZE", "UNAME26"]}'
	start_sleeper
	run h exec "$ID" sh -c 'cat /proc/self/personality; uname -r'
	expect_match '^00060008$'
	expect_match '^2\.6\.'
}

@test "READ_IMPLIES_EXEC is set, and the kernel's to keep" {
	require_cmd setarch
	update_config '.linux.personality = {domain: "LINUX", flags: ["READ_IMPLIES_EXEC"]}'
	run_script 'cat /proc/self/personality'
	expect_output "$(setarch -X cat /proc/self/personality)" # x86 takes it away from 64-bit programs
}

@test "a personality without a domain, and flags that nobody knows, are refused" {
	update_config '.linux.personality = {domain: "LINUX", flags: ["ADDR_NO_RANDOMIZE", "NO_SUCH"]}'
	run_script true
	expect_error '/linux/personality/flags/1: `NO_SUCH` is no flag'
	update_config '.linux.personality = {}'
	run_script true
	expect_error '/linux/personality/domain: is missing'
	expect_nothing_left
}
