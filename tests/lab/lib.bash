# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the lab's commands (build, start, run, shell, stop) share: where things are, which accelerator
# this host has, how the machine is started and reached. See CONTRIBUTING.md, "Tests in the lab".
#
# Cache (outside the checkout, made once by `build`):
#   $lab_cache/image-KEY/    root.img, vmlinuz, initrd.img, id (ssh key), known_hosts
#   $lab_cache/booted-KEY/   disk.qcow2 and state: the machine after its boot, only under emulation
# A running lab (one directory each, gone when it has stopped):
#   $lab_run/NAME/           disk.qcow2, checkout.img, console.log, monitor, port, pid, ssh

lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_top=$(cd "$lab_dir/../.." && pwd)
lab_cache=${XDG_CACHE_HOME:-$HOME/.cache}/hull
lab_run=${TMPDIR:-/tmp}/hull-lab-$(id -u)
lab_memory=${HULL_LAB_MEMORY:-4096} # MiB

# lab_die TEXT: one line, and the end.
lab_die()
{
	echo "lab: $*" >&2
	exit 125
}

lab_need()
{
	local tool missing=()
	for tool; do
		command -v "$tool" >/dev/null || missing+=("$tool")
	done
	[ ${#missing[@]} -eq 0 ] || lab_die "${missing[*]}: not installed; run 'make deps'"
}

# ---- this host --------------------------------------------------------------------------------------

# lab_accel prints `kvm` where this host's KVM runs Linux guests, else `tcg`. A /dev/kvm alone does not
# say so: a paravirtual one (kvm_pvm) opens, but the processor then shows neither VMX nor SVM.
lab_accel()
{
	if [ -n "${HULL_LAB_ACCEL:-}" ]; then
		echo "$HULL_LAB_ACCEL"
	elif [ -r /dev/kvm ] && [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; then
		echo kvm
	else
		echo tcg
	fi
}

# lab_machine CPUS: QEMU's arguments for the machine, without its disks and its network, one a line. The
# emulated processor has SVM, so that Debian's kvm_amd works inside.
# With thread=multi the kernel's patching of its own text goes wrong now and then (QEMU 7.2): one thread.
lab_machine()
{
	local cpus=$1
	if [ "$(lab_accel)" = kvm ]; then
		printf '%s\n' -M q35 -accel kvm -cpu host -smp "$cpus"
	else
		printf '%s\n' -M q35 -accel tcg,thread=single,tb-size=1024 -cpu max,+svm,+npt -smp "$cpus"
	fi
	printf '%s\n' -m "$lab_memory" -nodefaults -no-user-config -display none -no-reboot \
		-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng -device vmgenid,guid=auto
}

# ---- keys of the cache ------------------------------------------------------------------------------

# lab_image_key: what the image is made of.
lab_image_key()
{
	(cd "$lab_dir/image" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

# lab_booted_key: what a saved machine depends on: the image, QEMU, and the machine itself.
lab_booted_key()
{
	{
		lab_image_key
		qemu-system-x86_64 --version | head -n 1
		lab_machine 1
		lab_cgroups=v2 lab_kernel_arguments
	} | sha256sum | cut -c1-16
}

# lab_layout WORD: checks the value of --cgroups and prints it.
lab_layout()
{
	case $1 in
	v1 | v2 | hybrid) echo "$1" ;;
	*) lab_die "--cgroups needs v2, v1 or hybrid" ;;
	esac
}

# lab_kernel_arguments: $lab_cgroups says how systemd mounts the cgroups: v2 (default), v1, or hybrid.
lab_kernel_arguments()
{
	local layout=
	case ${lab_cgroups:-v2} in
	v1) layout=' systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1' ;;
	hybrid) layout=' systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0' ;;
	esac
	echo "root=/dev/vda rw console=ttyS0 quiet mitigations=off audit=0 net.ifnames=0 panic=-1 systemd.show_status=0$layout"
}

# ---- a running lab: $lab is its directory -----------------------------------------------------------

# lab_qemu ARGUMENT...: starts QEMU in the background for the lab in $lab and notes its pid. Without $lab_stay it dies
# with this shell, however that ends.
lab_qemu()
{
	local image arguments guard=(setpriv --pdeathsig KILL)
	[ -z "${lab_stay:-}" ] || guard=(setsid)
	image=$lab_cache/image-$(lab_image_key)
	mapfile -t arguments < <(lab_machine "${lab_cpus:-1}")
	"${guard[@]}" qemu-system-x86_64 "${arguments[@]}" \
		-kernel "$image/vmlinuz" -initrd "$image/initrd.img" -append "$(lab_kernel_arguments)" \
		-drive "if=none,id=root,file=$lab/disk.qcow2,format=qcow2,cache=unsafe" -device virtio-blk-pci,drive=root \
		-drive "if=none,id=checkout,file=$lab/checkout.img,format=raw,readonly=on" \
		-device virtio-blk-pci,drive=checkout,serial=checkout \
		-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22 -device virtio-net-pci,netdev=net \
		-serial "file:$lab/console.log" -monitor "unix:$lab/monitor,server=on,wait=off" "$@" \
		</dev/null >"$lab/qemu.log" 2>&1 &
	echo $! >"$lab/pid"
	disown $! # bash need not tell of its end
	# Until it is QEMU that has this pid, nothing can say whether the lab is alive.
	while kill -0 "$(cat "$lab/pid")" 2>/dev/null && ! lab_alive; do
		sleep 0.01
	done
}

# lab_monitor COMMAND: one command of QEMU's monitor; prints its answer.
lab_monitor()
{
	printf '%s\n' "$1" | socat -t "${2:-20}" - "UNIX-CONNECT:$lab/monitor" 2>/dev/null | tr -d '\r'
}

lab_alive()
{
	local pid
	pid=$(cat "$lab/pid" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = qemu-system-x86 ]
}

# lab_find_port: asks QEMU which port of the loopback leads to the machine's ssh.
lab_find_port()
{
	local port='' tries=0
	while [ -z "$port" ]; do
		lab_alive || lab_fail "QEMU has ended: $(tail -n 3 "$lab/qemu.log")"
		[ $((tries += 1)) -le 100 ] || lab_fail "QEMU does not answer"
		[ -S "$lab/monitor" ] && port=$(lab_monitor 'info usernet' 5 | awk '/HOST_FORWARD/ { print $4; exit }')
		[ -n "$port" ] || sleep 0.1
	done
	echo "$port" >"$lab/port"
}

# lab_ssh USER [OPTION...] -- COMMAND...
lab_ssh()
{
	lab_ssh_input "$@" </dev/null
}

# The same, and the command reads this shell's standard input.
lab_ssh_input()
{
	local user=$1 options=() image
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	image=$lab_cache/image-$(cat "$lab/image")
	ssh -F none -i "$image/id" -o UserKnownHostsFile="$image/known_hosts" -o HostKeyAlias=lab -o StrictHostKeyChecking=yes \
		-o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout=60 \
		-o ControlMaster=auto -o ControlPath="$lab/ssh-$user" -o ControlPersist=yes \
		-o ServerAliveInterval=30 -o ServerAliveCountMax=10 -p "$(cat "$lab/port")" "${options[@]}" \
		"$user@127.0.0.1" -- "$@"
}

# lab_fail TEXT: what went wrong and the end of the console, then the end of the machine.
lab_fail()
{
	echo "lab: $*" >&2
	if [ -s "$lab/console.log" ]; then
		echo "lab: the console's last lines:" >&2
		tail -n 20 "$lab/console.log" | tr -d '\r' >&2
	fi
	lab_end
	exit 125
}

# lab_end: ends the machine in $lab and removes its directory.
lab_end()
{
	local pid user
	for user in root lab; do
		[ ! -S "$lab/ssh-$user" ] || ssh -F none -o ControlPath="$lab/ssh-$user" -O exit "$user@127.0.0.1" 2>/dev/null || true
	done
	if lab_alive; then
		pid=$(cat "$lab/pid")
		kill -KILL "$pid" 2>/dev/null || true
		while [ -e "/proc/$pid/cwd" ] && kill -0 "$pid" 2>/dev/null; do
			sleep 0.05
		done
	fi
	rm -rf "$lab"
}

# The disk that holds the checkout is of one size always: a saved machine knows no other.
lab_checkout_size=1G

# lab_wait_booted: until ssh answers; a boot that takes longer than five minutes has failed.
lab_wait_booted()
{
	local deadline=$((SECONDS + 300))
	until lab_ssh root -- true 2>/dev/null; do
		lab_alive || lab_fail "QEMU has ended: $(tail -n 3 "$lab/qemu.log")"
		[ $SECONDS -lt $deadline ] || lab_fail "no ssh after five minutes"
		sleep 0.5
	done
}

# ---- a lab's life -----------------------------------------------------------------------------------

# lab_stage FILE: makes the disk that holds the checkout (what git knows, and the programs of the build) and the
# installed tree (.install), both as root's.
lab_stage()
{
	local stage path build=${HULL_BUILD:-$lab_top/build}
	[ -x "$build/bin/hull" ] || lab_fail "nothing is built yet; run 'make' first"
	stage=$(mktemp -d "$lab/stage.XXXXXX")
	mkdir -p "$stage/hull"
	(
		cd "$lab_top" || exit
		if git rev-parse --git-dir >/dev/null 2>&1; then
			git ls-files -z --cached --others --exclude-standard
		else
			find . -path ./build -prune -o -type f -print0
		fi | while IFS= read -r -d '' path; do [ ! -e "$path" ] || printf '%s\0' "$path"; done |
			xargs -0 cp -a --parents -t "$stage/hull"
		# Of a build what can be run, not what it was made of.
		for path in bin libexec tests helpers guests bench valgrind/bin valgrind/libexec; do
			[ ! -d "$build/$path" ] || { mkdir -p "$stage/hull/build/$path" && cp -a "$build/$path/." "$stage/hull/build/$path/"; }
		done
	)
	# Not a part of a make that may have started this: that one's options and job server are not for it.
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$lab_top" install-files BUILD="$build" DESTDIR="$stage/hull/.install" PREFIX=/usr/local >/dev/null
	rm -f "$1.new"
	mkfs.erofs --quiet --all-root "$1.new" "$stage/hull" >/dev/null
	# The same file: in a running machine it is the disk.
	[ "$(stat -c %s "$1.new")" -le "$(numfmt --from=iec $lab_checkout_size)" ] || lab_fail "the checkout is larger than $lab_checkout_size"
	cat "$1.new" >"$1"
	truncate -s $lab_checkout_size "$1"
	rm -rf "$1.new" "$stage"
}

# lab_share: (again) puts the checkout at /hull, writable there and only there, and installs the programs.
lab_share()
{
	# shellcheck disable=SC2016
	if ! lab_ssh root -- 'mountpoint -q /hull || exit 0; umount /hull && umount /var/lib/lab/checkout'; then
		echo 'lab: /hull is in use in the lab: it stays as it is' >&2
		return
	fi
	lab_stage "$lab/checkout.img"
	# shellcheck disable=SC2016
	lab_ssh root -- 'set -e
		cd /var/lib/lab
		disk=$(readlink -f /dev/disk/by-id/virtio-checkout)
		blockdev --flushbufs "$disk"
		rm -rf changes work
		mkdir -p checkout changes work
		mount -t erofs -o ro "$disk" checkout
		mount -t overlay -o lowerdir=checkout,upperdir=changes,workdir=work overlay /hull
		cp -a /hull/.install/. /' || lab_fail 'the checkout could not be mounted'
}

# lab_begin NAME: starts a lab and leaves it ready for commands; $lab is its directory then.
lab_begin()
{
	local image booted
	"$lab_dir/build" || exit 125
	image=$lab_cache/image-$(lab_image_key)
	booted=$lab_cache/booted-$(lab_booted_key)
	[ -d "$lab_run" ] || mkdir -m 700 "$lab_run" 2>/dev/null || true # another may have been quicker
	[ -O "$lab_run" ] && [ ! -L "$lab_run" ] || lab_die "$lab_run belongs to somebody else"
	mkdir "$lab_run/$1" 2>/dev/null || lab_die "a lab named $1 runs already (tests/lab/stop $1)"
	lab=$lab_run/$1
	lab_image_key >"$lab/image"
	truncate -s $lab_checkout_size "$lab/checkout.img"

	if [ -d "$booted" ] && [ "${lab_cpus:-1}" -eq 1 ] && [ "${lab_cgroups:-v2}" = v2 ]; then
		qemu-img create -q -f qcow2 -F qcow2 -b "$booted/disk.qcow2" "$lab/disk.qcow2"
		lab_qemu -incoming "exec:zstd -q -dc $booted/state"
		lab_find_port
		while lab_monitor 'info status' | grep -q inmigrate; do
			sleep 0.1
		done
		lab_monitor cont >/dev/null
	else
		qemu-img create -q -f qcow2 -F raw -b "$image/root.img" "$lab/disk.qcow2"
		lab_qemu
		lab_find_port
	fi
	lab_wait_booted
	# A saved machine wakes with the clock that it had; KVM is not part of it.
	lab_ssh root -- "date -s @$(date +%s.%N) >/dev/null; modprobe kvm_amd 2>/dev/null || modprobe kvm_intel 2>/dev/null; true"
	lab_share
}

# lab_open NAME: a running lab, by name.
lab_open()
{
	lab=$lab_run/$1
	[ -f "$lab/port" ] && lab_alive || lab_die "no lab named $1 is running (tests/lab/start $1)"
}
