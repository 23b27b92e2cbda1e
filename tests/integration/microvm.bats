#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A bundle in a microVM: the same commands as on a container, with the same results, in a kernel of its own.

load helpers

setup()
{
	[ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo || skip "no KVM here that runs Linux"
	[ -z "${HULL_SANITIZE:-}" ] || skip "the guest is of the ordinary build"
	hull_setup
	update_config '.annotations["run.hull.sandbox"] = "microvm"'
}

@test "run: output, both streams, exit status, a kernel of its own" {
	set_args sh -c 'echo out; echo err >&2; uname -r; exit 7'
	run --separate-stderr h run --bundle "$BUNDLE" "$ID"
	expect_status 7
	[ "${lines[0]}" = out ]
	[[ "${lines[1]}" = *-hull ]]
	# shellcheck disable=SC2154 # bats sets it
	[ "$stderr" = err ] || fail "$stderr"
}

@test "run: standard input is passed on byte for byte, and its end" {
	head -c 300000 /dev/urandom >"$TEST_DIR/data"
	set_args sh -c 'cat | sha256sum'
	run h run --bundle "$BUNDLE" "$ID" <"$TEST_DIR/data"
	expect_status 0
	expect_output "$(sha256sum <"$TEST_DIR/data")"
}

@test "run: output of any length arrives whole" {
	set_args sh -c 'head -c 3000000 /dev/zero; echo end >&2'
	[ "$(h run --bundle "$BUNDLE" "$ID" 2>/dev/null | wc -c)" = 3000000 ]
}

@test "the workload's user, directory, environment, names and process ids" {
	update_config '.process.user = {uid: 1000, gid: 1000, additionalGids: [2000]} | .process.cwd = "/tmp"
		| .process.env += ["A=b c"] | .hostname = "inside"'
	set_args sh -c 'id; pwd; echo "$A"; hostname; echo $$'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_output "$(printf 'uid=1000(user) gid=1000(user) groups=2000(extra)\n/tmp\nb c\ninside\n1')"
}

@test "files: what is written is in the bundle, with its owner; read-only is the host's word" {
	mkdir "$TEST_DIR/volume" "$TEST_DIR/fixed"
	echo host >"$TEST_DIR/fixed/file"
	update_config '.process.capabilities |= map_values(. + ["CAP_CHOWN", "CAP_SYS_ADMIN"])'
	update_config --arg v "$TEST_DIR/volume" --arg f "$TEST_DIR/fixed" '.mounts += [
		{destination: "/volume", type: "bind", source: $v, options: ["rbind", "rw"]},
		{destination: "/fixed", type: "bind", source: $f, options: ["rbind", "ro"]},
		{destination: "/etc/one", type: "bind", source: ($f + "/file"), options: ["bind", "ro"]}]'
	set_args sh -c 'echo a >/root/made; chown 1000:1000 /root/made; echo b >/volume/made; ln -s made /volume/link
		cat /fixed/file /etc/one; echo no >/fixed/file; echo no >/etc/one; mount -o remount,rw /fixed; echo no >/fixed/other
		ls /fixed; stat -c %u:%g /root/made'
	run h run --bundle "$BUNDLE" "$ID"
	expect_match '^host$'
	expect_match '^1000:1000$'
	expect_match 'ead-only'
	[ "$(cat "$BUNDLE/rootfs/root/made" "$TEST_DIR/volume/made")" = "$(printf 'a\nb')" ]
	[ "$(stat -c %u:%g "$BUNDLE/rootfs/root/made")" = 1000:1000 ]
	[ "$(readlink "$TEST_DIR/volume/link")" = made ]
	[ "$(ls "$TEST_DIR/fixed")" = file ]
	[ "$(cat "$TEST_DIR/fixed/file")" = host ]
}

@test "a root that is read-only is so, and has its mount points made" {
	update_config '.root.readonly = true | .mounts += [{destination: "/new/place", type: "tmpfs", source: "none"}]'
	set_args sh -c 'echo x >/bin/file || echo refused; echo ok >/new/place/file && cat /new/place/file'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_match '^refused$'
	expect_match '^ok$'
	[ ! -e "$BUNDLE/rootfs/bin/file" ]
}

@test "create, state, start, exec, ps, kill, delete" {
	set_args sh -c 'trap "exit 5" TERM; echo ready >/tmp/ready; while :; do sleep 0.1; done'
	create_container
	[ "$(container_status)" = created ]
	run cat "/proc/$(container_pid)/comm"
	expect_output hull-vmm
	h start "$ID"
	[ "$(container_status)" = running ]
	run h start "$ID"
	expect_error 'running already'
	wait_until 20 '[ -e "$BUNDLE/rootfs/tmp/ready" ]'

	run h exec "$ID" sh -c 'echo "from $(id -u)"; cat; exit 3' <<<input
	expect_status 3
	expect_output "$(printf 'from 0\ninput')"
	run h exec --user 1000:1000 --cwd /tmp --env X=y "$ID" sh -c 'id -u; pwd; echo $X'
	expect_output "$(printf '1000\n/tmp\ny')"
	run h exec "$ID" no-such-program
	expect_status 127
	expect_match 'no-such-program'
	run h ps "$ID"
	expect_match 'PID'
	expect_match 'trap "exit 5" TERM'
	[ "$(h ps --format json "$ID" | jq length)" -ge 1 ]
	h list | grep -q "$ID.*running"

	h kill "$ID" TERM
	wait_until 20 '[ "$(container_status)" = stopped ]'
	run h exec "$ID" true
	expect_error 'not running'
	[ "$(h ps --format json "$ID")" = '[]' ]
	h delete "$ID"
	run h state "$ID"
	expect_error 'does not exist'
}

@test "output that is read late is whole, and the status the workload's" {
	set_args sh -c 'seq 1 60000; exit 7'
	# shellcheck disable=SC2016
	run without_bats bash -c '{ "$@" </dev/null; echo "status $?" >&2; } | { sleep 10; wc -l; }' \
		bash "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID"
	expect_match '^60000$'
	expect_match '^status 7$'
}

@test "several execs at once each have their own streams and status" {
	start_sleeper
	for i in 1 2 3 4; do
		(h exec "$ID" sh -c "read line; echo \"\$line $i\"; exit $i" <<<"say" >"$TEST_DIR/exec.$i" || echo $? >"$TEST_DIR/status.$i") &
	done
	wait
	for i in 1 2 3 4; do
		[ "$(cat "$TEST_DIR/exec.$i" "$TEST_DIR/status.$i")" = "$(printf 'say %s\n%s' $i $i)" ] || fail "$i: $(cat "$TEST_DIR/exec.$i" "$TEST_DIR/status.$i")"
	done
	# A detached one: its process stands for it on the host, takes signals for it and ends with it.
	h exec --detach --pid-file "$TEST_DIR/pid" "$ID" sh -c 'trap "echo got >/tmp/got; exit" USR1; echo up >/tmp/up; while :; do sleep 0.1; done' </dev/null >/dev/null 2>&1
	wait_until 20 '[ -e "$BUNDLE/rootfs/tmp/up" ]'
	kill -USR1 "$(cat "$TEST_DIR/pid")"
	wait_until 20 '[ -e "$BUNDLE/rootfs/tmp/got" ]'
	wait_until 20 '[ ! -e "/proc/$(cat "$TEST_DIR/pid")" ] || grep -q "^State:.*Z" "/proc/$(cat "$TEST_DIR/pid")/status"'
}

@test "kill: signals arrive, also those that are sent to the process on the host; KILL ends it" {
	set_args sh -c 'trap "echo usr1 >>/tmp/got" USR1; trap "echo hup >>/tmp/got" HUP; echo up >/tmp/up; while :; do sleep 0.1; done'
	start_container
	wait_until 20 '[ -e "$BUNDLE/rootfs/tmp/up" ]'
	h kill "$ID" USR1
	wait_until 20 'grep -q usr1 "$BUNDLE/rootfs/tmp/got"'
	kill -HUP "$(container_pid)"
	wait_until 20 'grep -q hup "$BUNDLE/rootfs/tmp/got"'
	h kill "$ID" KILL
	wait_until 20 '[ "$(container_status)" = stopped ]'
}

@test "run in the foreground: a signal to hull reaches the workload, and its end is hull's" {
	set_args sh -c 'trap "exit 9" TERM; echo up >/tmp/up; while :; do sleep 0.1; done'
	"$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 3>&- &
	hull=$!
	wait_until 40 '[ -e "$BUNDLE/rootfs/tmp/up" ]'
	kill -TERM $hull
	status=0
	wait $hull || status=$?
	expect_status 9
}

@test "pause stops it, resume lets it go on" {
	set_args sh -c 'while :; do echo x >>/tmp/count; sleep 0.1; done'
	start_container
	wait_until 20 '[ -s "$BUNDLE/rootfs/tmp/count" ]'
	h pause "$ID"
	[ "$(container_status)" = paused ]
	before=$(wc -l <"$BUNDLE/rootfs/tmp/count")
	sleep 1
	[ "$(wc -l <"$BUNDLE/rootfs/tmp/count")" = "$before" ]
	run h exec "$ID" true
	expect_error paused
	run h update --pids-limit 5 "$ID"
	expect_error 'paused does not take new limits: resume it first'
	h resume "$ID"
	[ "$(container_status)" = running ]
	wait_until 30 '[ "$(wc -l <"$BUNDLE/rootfs/tmp/count")" -gt "$before" ]'
	h pause "$ID"
	h kill "$ID" KILL
	wait_until 20 '[ "$(container_status)" = stopped ]'
}

@test "a terminal: a size, raw bytes, its end" {
	update_config '.process.terminal = true'
	set_args sh -c 'test -t 0 && test -t 1 && echo is a terminal; stty size; printf "> "; read line; echo "got $line"; exit 4'
	run "$HELPERS/terminal" "$HULL" --root "$ROOT" run --bundle "$BUNDLE" "$ID" <<<"typed"
	expect_status 4
	expect_match 'is a terminal'
	expect_match '33 77'
	expect_match 'got typed'
	expect_match 'terminal: restored'
}

@test "memory: the limit holds in the guest, and the machine has its size" {
	update_config '.linux.resources.memory = {limit: 67108864}'
	set_args sh -c 'grep MemTotal /proc/meminfo; cat /sys/fs/cgroup/memory.max'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	[ "$(awk '/MemTotal/ { print ($2 > 64 * 1024 && $2 < 128 * 1024) }' <<<"$output")" = 1 ] || fail "$output"
	expect_match '^67108864$'
	set_args sh -c 'tail /dev/zero'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 137
}

@test "update: memory and processor time change in the guest and on the host" {
	update_config '.linux.resources.memory = {limit: 134217728}'
	start_sleeper
	for mib in 96 128; do
		h update --memory ${mib}m "$ID"
		run h exec "$ID" cat /sys/fs/cgroup/memory.max
		expect_output $((mib << 20))
		# What the machine may take of the host is what it was made with: the guest gives back in its own time.
		[ "$(cat "$(cgroup_of memory)/memory.max")" = $(((128 + 96) << 20)) ]
	done
	run h update --memory 256m "$ID"
	expect_error '/memory/limit: the microVM was made with'
	h update --cpu-quota 25000 --cpu-period 100000 "$ID"
	run h exec "$ID" cat /sys/fs/cgroup/cpu.max
	expect_output '25000 100000'
	[ "$(cat "$(cgroup_of cpu)/cpu.max")" = '25000 100000' ]
	h update --pids-limit 5 "$ID"
	run h exec "$ID" cat /sys/fs/cgroup/pids.max
	expect_output 5
	[ "$(container_status)" = running ]
}

@test "the machine of /vm: kernel, initrd, parameters, processors and memory" {
	libexec=$(dirname "$(readlink -f "$HULL")")/../libexec/hull
	cp "$libexec/vmlinux" "$TEST_DIR/kernel"
	cp "$libexec/guest.cpio.gz" "$TEST_DIR/initrd"
	update_config --arg dir "$TEST_DIR" '.vm = {kernel: {path: ($dir + "/kernel"), initrd: ($dir + "/initrd"),
		parameters: ["first=1", "second=2"]}, hwConfig: {vcpus: 2, memory: 209715200}}'
	set_args sh -c 'cat /proc/cmdline; nproc; awk "/MemTotal/ { print \$2 }" /proc/meminfo'
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_match ' first=1 second=2'
	expect_match '^2$'
	memory=${lines[-1]}
	[ "$memory" -gt 150000 ] && [ "$memory" -le 204800 ]
	# Both files are the ones that are named.
	for file in kernel initrd; do
		mv "$TEST_DIR/$file" "$TEST_DIR/good"
		echo "neither kernel nor archive" >"$TEST_DIR/$file"
		run h run --bundle "$BUNDLE" "$ID"
		[ "$status" -ne 0 ]
		expect_match "$([ $file = kernel ] && echo 'the kernel: ' || echo 'panic')"
		mv "$TEST_DIR/good" "$TEST_DIR/$file"
	done
	# The annotations, too.
	update_config 'del(.vm) | .annotations += {"run.hull.vm.cpus": "2", "run.hull.vm.memory": "200", "run.hull.vm.kernel": $kernel}' \
		--arg kernel "$TEST_DIR/kernel"
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_match '^2$'
	[ "${lines[-1]}" -eq "$memory" ]
}

# Whether hull-vmm goes on from a template.
is_restored()
{
	tr '\0' ' ' <"/proc/$(container_pid)/cmdline" | grep -q -- '--restore'
}

@test "a template: the first machine of a size makes it, the next ones go on from it, and are others" {
	templates=/var/cache/hull/templates
	size=$((300 + RANDOM % 500))
	rm -f $templates/${size}m-*
	update_config '.annotations["run.hull.vm.memory"] = $size' --arg size $size
	start_sleeper
	! is_restored || fail "there was a template before"
	file=$(ls $templates/${size}m-*)
	[ "$(stat -c '%a %u' "$file")" = "600 0" ]
	[ "$(stat -c %a $templates)" = 700 ]
	before=$(sha256sum "$file")
	for _ in 1 2 3; do
		h delete --force "$ID"
		start_sleeper
		is_restored
		h exec "$ID" cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid >>"$TEST_DIR/ids"
		h exec "$ID" sh -c 'head -c 32 /dev/urandom | sha256sum' >>"$TEST_DIR/ids"
		now=$(h exec "$ID" date +%s)
		[ $(($(date +%s) - now)) -le 5 ] || fail "the guest's clock is $(($(date +%s) - now)) seconds late"
		h exec "$ID" sh -c 'for i in 1 2; do date; sleep 1; done'
		# Files and memory of the workload's own, larger than what any request has.
		h exec "$ID" sh -c 'head -c 3000000 /dev/urandom >/file && cp /file /copy && cmp /file /copy && mkdir /many &&
			for i in $(seq 70); do echo $i >/many/$i; done && [ $(cat /many/* | wc -l) = 70 ] && rm -r /many /file /copy'
	done
	[ "$(sort -u "$TEST_DIR/ids" | wc -l)" -eq 9 ] || fail "$(cat "$TEST_DIR/ids")"
	[ "$(sha256sum "$file")" = "$before" ]
	h delete --force "$ID"
	# Who does not want one neither uses nor makes one.
	update_config '.annotations["run.hull.vm.template"] = "false"'
	start_sleeper
	! is_restored || fail "the template was used"
	h delete --force "$ID"
	update_config '.annotations["run.hull.vm.template"] = "perhaps"'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error '/annotations/run.hull.vm.template: .perhaps. is neither true nor false'
	rm -f "$file"
}

@test "a template that is of no use is removed, and the next machine boots" {
	templates=/var/cache/hull/templates
	size=$((300 + RANDOM % 500))
	rm -f $templates/${size}m-*
	update_config '.annotations["run.hull.vm.memory"] = $size' --arg size $size
	set_args echo hello
	h run --bundle "$BUNDLE" "$ID"
	file=$(ls $templates/${size}m-*)
	for damage in 'truncate --size 8000 "$0"' 'truncate --size -5000 "$0"' 'printf "xxxx" | dd of="$0" bs=1 seek=$1 conv=notrunc status=none' ': >"$0"'; do
		# Where the records begin (microvm/snapshot.h, state_at); a record's length is behind its tag.
		records=$(od -An -tu8 -j24 -N8 "$file")
		sh -c "$damage" "$file" $((records + 4))
		run h run --bundle "$BUNDLE" "$ID"
		[ "$status" -ne 0 ]
		expect_match 'snapshot'
		expect_match 'was of no use, and is removed'
		[ ! -e "$file" ]
		expect_nothing_left
		run h run --bundle "$BUNDLE" "$ID"
		expect_status 0
		expect_output hello
		[ -e "$file" ]
	done
	# A workload that cannot start is no fault of the template's.
	set_args /nothing
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 127
	[ -e "$file" ]
	rm -f "$file"
}

@test "the jail: nobody, no capability, an empty root, filters in every thread" {
	start_sleeper
	pid=$(container_pid)
	grep -qE '^Uid:\s65534\s65534' "/proc/$pid/status"
	grep -qE '^CapEff:\s0000000000000000' "/proc/$pid/status"
	grep -qE '^CapBnd:\s0000000000000000' "/proc/$pid/status"
	grep -qE '^NoNewPrivs:\s1' "/proc/$pid/status"
	for task in "/proc/$pid/task"/*; do
		grep -qE '^Seccomp:\s2' "$task/status" || fail "$task is not filtered"
	done
	for ns in user mnt pid ipc uts net; do
		[ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ] || fail "$ns is the host's"
	done
	[ "$(ls "/proc/$pid/root")" = "$(printf 'control.sock\nvsock.sock')" ] || fail "$(ls "/proc/$pid/root")"
}

# KiB that hull-vmm and file server hold together, without the guest's memory: a memfd, or around what is mapped of a template.
resident()
{
	local p first rest at end total=0 ours

	for p in $(cat "$(cgroup_of pids)/cgroup.procs"); do
		end=0 ours=1
		while read -r first rest; do
			if [[ $first == *-* ]]; then
				at=$((16#${first%-*}))
				if [ $end = 0 ] && [[ $rest == */templates/* ]]; then end=$((at - at % 2097152 + ($1 << 20))); fi
				ours=1
				if [ $at -lt $end ] && [ $at -ge $((end - ($1 << 20))) ]; then ours=0; fi
				if [ $end = 0 ] && [[ $rest == *"guest memory"* ]]; then ours=0; fi
			elif [ "$first" = Rss: ] && [ $ours = 1 ]; then
				total=$((total + ${rest%% *}))
			fi
		done <"/proc/$p/smaps"
	done
	echo $total
}

@test "resident memory of both processes, without the guest's, is at most 3 MiB: of a machine that booted, and of one that did not" {
	for template in false true; do
		update_config '.annotations["run.hull.vm.template"] = $template' --arg template $template
		start_sleeper
		h exec "$ID" sh -c 'find / -xdev | wc -l; cat /bin/busybox >/tmp/copy'
		[ "$(resident 576)" -le 3072 ] || fail "template $template: $(resident 576) KiB resident"
		h delete --force "$ID"
	done
}

@test "what a microVM cannot be is refused by name, and leaves nothing" {
	base=$(cat "$BUNDLE/config.json")
	check()
	{
		update_config "$1"
		run h run --bundle "$BUNDLE" "$ID"
		expect_error "$2"
		expect_nothing_left
		printf '%s\n' "$base" >"$BUNDLE/config.json"
	}
	check 'del(.linux.namespaces[] | select(.type == "pid"))' "host's pid namespace"
	check 'del(.linux.namespaces[] | select(.type == "network"))' "host's network namespace"
	check '(.linux.namespaces[] | select(.type == "ipc")).path = "/proc/self/ns/ipc"' '/linux/namespaces/.*/path'
	check '.linux.devices = [{path: "/dev/sda", type: "b", major: 8, minor: 0}]' '/linux/devices/0'
	check '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/run/agent", syscalls: [{names: ["mkdir"], action: "SCMP_ACT_NOTIFY"}]}' \
		'/linux/seccomp/listenerPath'
	check '.vm = {kernel: {path: "/no/such/kernel"}}' 'no/such/kernel'
	for part in 'image: {path: "/disk", format: "raw"}' 'hypervisor: {path: "/usr/bin/qemu"}' \
		'hwConfig: {deviceTree: "/tree"}' 'hwConfig: {dtdevs: ["/dev/x"]}' 'hwConfig: {irqs: [1]}' \
		'hwConfig: {iomems: [{firstGFN: 1, firstMFN: 1, nrMFNs: 1}]}'; do
		check ".vm = {kernel: {path: \"/no/such/kernel\"}, $part}" '/vm/(image|hypervisor|hwConfig/[a-zA-Z]+)'
	done
	check '.vm = {kernel: {path: "/no/such/kernel"}, hwConfig: {vcpus: 1000000}}' '/vm/hwConfig/vcpus: 1000000'
	run h run --preserve-fds 1 --bundle "$BUNDLE" "$ID" 3</dev/null
	expect_error 'preserve-fds'
}

@test "a program that does not exist, a guest that does not boot: an error, and nothing is left" {
	set_args no-such-program
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 127
	expect_match 'no-such-program'
	expect_nothing_left
	head -c 100000 /dev/urandom >"$TEST_DIR/kernel"
	update_config --arg k "$TEST_DIR/kernel" '.vm = {kernel: {path: $k}}'
	run h run --bundle "$BUNDLE" "$ID"
	expect_error 'kernel'
	expect_nothing_left
}

@test "a killed hull-vmm is a stopped container; delete --force at any time leaves nothing" {
	start_sleeper
	kill -KILL "$(container_pid)"
	wait_until 10 '[ "$(container_status)" = stopped ]'
	h delete "$ID"
	expect_nothing_left
	start_sleeper
	h delete --force "$ID"
	expect_nothing_left
}

@test "a killed file server ends the microVM with the reason" {
	set_args sleep 1000
	h run --sandbox microvm --bundle "$BUNDLE" "$ID" >"$TEST_DIR/end" 2>&1 3>&- &
	running=$!
	wait_until 60 '[ "$(container_status)" = running ]'
	kill -KILL "$(grep -vx "$(container_pid)" "$(cgroup_of memory)/cgroup.procs")"
	run wait "$running"
	expect_status 255
	grep -q 'the file server ended' "$TEST_DIR/end"
}

@test "create, killed at some points, leaves nothing that delete does not" {
	for ms in 5 20 60 150 400 1000 2500; do
		"$HULL" --root "$ROOT" create --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 3>&- &
		sleep "$(awk "BEGIN { print $ms / 1000 }")"
		kill -KILL $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		h delete --force "$ID"
		expect_nothing_left
	done
}

@test "hooks of the runtime run on the host, startContainer in the container" {
	update_config --arg dir "$TEST_DIR" '.hooks = {
		createRuntime: [{path: "/bin/sh", args: ["sh", "-c", "cat >\($dir)/created"]}],
		startContainer: [{path: "/bin/sh", args: ["sh", "-c", "uname -r >/tmp/started"]}],
		poststart: [{path: "/bin/sh", args: ["sh", "-c", "echo x >\($dir)/poststart"]}],
		poststop: [{path: "/bin/sh", args: ["sh", "-c", "echo x >\($dir)/poststop"]}]}'
	set_args cat /tmp/started
	run h run --bundle "$BUNDLE" "$ID"
	expect_status 0
	expect_match 'hull$'
	[ "$(jq -r .id "$TEST_DIR/created")" = "$ID" ]
	[ -e "$TEST_DIR/poststart" ] && [ -e "$TEST_DIR/poststop" ]
}

@test "network: what a namespace has, the guest has, and both ends talk" {
	require_cmd ip
	ip netns add "$ID"
	ip link add "v${ID: -8}" type veth peer name eth0 netns "$ID"
	ip addr add 10.99.7.1/24 dev "v${ID: -8}"
	ip link set "v${ID: -8}" up
	ip -n "$ID" addr add 10.99.7.2/24 dev eth0
	ip -n "$ID" link set eth0 up mtu 1400
	ip -n "$ID" link set lo up
	ip -n "$ID" route add default via 10.99.7.1
	update_config --arg ns "/run/netns/$ID" '(.linux.namespaces[] | select(.type == "network")).path = $ns'
	update_config '.process.capabilities |= map_values(. + ["CAP_NET_RAW"])'
	mac=$(ip -n "$ID" -json link show eth0 | jq -r '.[0].address')
	set_args sh -c 'cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ip route; ping -c 2 -W 5 10.99.7.1 | grep received; nc -l -p 7000'
	h run --bundle "$BUNDLE" "$ID" </dev/null >"$OUT" 2>&1 &
	wait_until 40 'echo hello over there | timeout 2 nc -q 1 10.99.7.2 7000 || echo hello over there | timeout 2 busybox nc 10.99.7.2 7000'
	wait $!
	status=$?
	ip netns del "$ID"
	run cat "$OUT"
	expect_match "^$mac$"
	expect_match '^1400$'
	expect_match 'default via 10.99.7.1'
	expect_match '2 packets received'
	expect_match 'hello over there'
}
