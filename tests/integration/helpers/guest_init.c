// SPDX-License-Identifier: Apache-2.0
// The first process of a virtual machine with the guest kernel: says on the console, line by line, what
// that kernel offers ("ok NAME" or "not ok NAME: why"), then "done", and restarts the machine; with the argument "off" it
// switches it off, with "brief" it only says "done" and how many processors there are, and switches it off.
//
// What it asks for is what hull-guest and the containers of real images use; microvm/kernel/hull.config says who.
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fanotify.h>
#include <linux/fs.h>
#include <linux/if_link.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

static void report(const char *name, int worked)
{
	if (worked)
		printf("ok %s\n", name);
	else
		printf("not ok %s: %s\n", name, strerror(errno));
}

// The words of a file that must be there, each a line of its own.
static void report_words(const char *prefix, const char *path, const char *const *words)
{
	static char text[65536];
	size_t length = 0;
	FILE *file = fopen(path, "re");

	if (file) {
		length = fread(text + 1, 1, sizeof(text) - 3, file);
		fclose(file);
	}
	text[0] = ' ';
	text[length + 1] = ' ';
	text[length + 2] = '\0';
	for (size_t i = 0; i < length + 2; i++)
		if (text[i] == '\n' || text[i] == '\t')
			text[i] = ' ';

	for (; *words; words++) {
		char word[64];
		char name[128];

		snprintf(word, sizeof(word), " %s ", *words);
		snprintf(name, sizeof(name), "%s %s", prefix, *words);
		errno = ENOENT;
		report(name, strstr(text, word) != NULL);
	}
}

static void report_paths(const char *prefix, const char *directory, const char *const *names)
{
	for (; *names; names++) {
		char path[256];
		char name[128];

		snprintf(path, sizeof(path), "%s/%s", directory, *names);
		snprintf(name, sizeof(name), "%s %s", prefix, *names);
		report(name, access(path, F_OK) == 0);
	}
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

// A call that gives a descriptor.
static void report_fd(const char *name, long fd)
{
	report(name, fd >= 0);
	if (fd >= 0)
		close((int)fd);
}

static void mount_all(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/disk", 0755);
	report("mount proc", mount("proc", "/proc", "proc", 0, NULL) == 0);
	report("mount sysfs", mount("sysfs", "/sys", "sysfs", 0, NULL) == 0);
	report("mount devtmpfs", mount("dev", "/dev", "devtmpfs", 0, NULL) == 0 || errno == EBUSY);
	report("mount cgroup2", mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) == 0);
	report("mount the disk as erofs",
	       mount("/dev/vda", "/disk", "erofs", MS_RDONLY, NULL) == 0);
	report("a file of the disk", access("/disk/hello", R_OK) == 0);
}

static void calls(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int event_fd = eventfd(0, EFD_CLOEXEC);
	char ring[120] = { 0 };
	sigset_t signals;
	unsigned int size = 0;
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	mqd_t queue;

	sigemptyset(&signals);
	report("epoll on an eventfd", epoll_ctl(epoll, EPOLL_CTL_ADD, event_fd, &event) == 0);
	report_fd("signalfd", signalfd(-1, &signals, SFD_CLOEXEC));
	report_fd("timerfd", timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	report_fd("inotify", inotify_init1(IN_CLOEXEC));
	report_fd("fanotify", syscall(SYS_fanotify_init, FAN_CLASS_CONTENT, O_RDONLY));
	report_fd("io_uring", syscall(SYS_io_uring_setup, 8, ring));
	report_fd("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
	report_fd("memfd", syscall(SYS_memfd_create, "m", 0));
	report_fd("pidfd", syscall(SYS_pidfd_open, 1, 0));
	report("System V messages", msgget(IPC_PRIVATE, 0600) >= 0);
	queue = mq_open("/q", O_CREAT | O_RDWR, 0600, NULL);
	report("POSIX message queues", queue != (mqd_t)-1);
	report("keyrings",
	       syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1) > 0);
	report("PR_SET_MM_MAP", prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0);
	report("seccomp with notify",
	       syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0);
	report("landlock", syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0);
	report("every namespace",
	       unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET |
		       CLONE_NEWCGROUP | 0x80 /* CLONE_NEWTIME */) == 0);
}

// The device filter of cgroup v2: the smallest program that allows everything.
static void device_filter(void)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uint64_t)(uintptr_t)code,
		.insn_cnt = 2,
		.license = (uint64_t)(uintptr_t) "GPL",
	};
	union bpf_attr attach = { .attach_type = BPF_CGROUP_DEVICE };
	int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	int cgroup = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	attach.attach_bpf_fd = (uint32_t)program;
	attach.target_fd = (uint32_t)cgroup;
	report("a device filter",
	       program >= 0 && syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) == 0);
}

// Asks for a new link of a kind, as `ip link add type KIND` does.
static void add_link(const char *kind)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
		char attributes[64];
	} request = { .header = { .nlmsg_type = RTM_NEWLINK,
				  .nlmsg_flags =
					  NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK } };
	struct rtattr *info = (struct rtattr *)request.attributes;
	struct rtattr *name = (struct rtattr *)(request.attributes + RTA_LENGTH(0));
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[256];
	} answer = { 0 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char label[64];

	name->rta_type = IFLA_INFO_KIND;
	name->rta_len = (unsigned short)RTA_LENGTH(strlen(kind) + 1);
	memcpy(RTA_DATA(name), kind, strlen(kind) + 1);
	info->rta_type = IFLA_LINKINFO;
	info->rta_len = (unsigned short)(RTA_LENGTH(0) + RTA_ALIGN(name->rta_len));
	request.header.nlmsg_len =
		(unsigned int)(NLMSG_LENGTH(sizeof(request.info)) + info->rta_len);
	snprintf(label, sizeof(label), "link %s", kind);
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) < 0) {
		report(label, 0);
	} else {
		errno = -answer.error.error;
		report(label, answer.error.error == 0);
	}
	close(fd);
}

static void network(void)
{
	report_fd("IPv4", socket(AF_INET, SOCK_STREAM, 0));
	report_fd("IPv6", socket(AF_INET6, SOCK_STREAM, 0));
	report_fd("packet sockets", socket(AF_PACKET, SOCK_RAW, 0));
	report_fd("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
	report_fd("nftables", socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
	report_paths("iptables", "/proc/net", LIST("ip_tables_names", "ip6_tables_names"));
	add_link("veth");
	add_link("bridge");
	add_link("dummy");
}

static int end(int how)
{
	puts("done");
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	reboot(how);
	return 1;
}

int main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	mount_all();
	if (!strcmp(wanted, "brief")) {
		printf("processors: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
		return end(RB_POWER_OFF);
	}
	report_words("file system", "/proc/filesystems",
		     LIST("ext4", "erofs", "overlay", "tmpfs", "virtiofs", "fuse", "hugetlbfs",
			  "mqueue", "devpts", "bpf", "binfmt_misc"));
	report_words("controller", "/sys/fs/cgroup/cgroup.controllers",
		     LIST("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"));
	report_words("clock", "/sys/devices/system/clocksource/clocksource0/current_clocksource",
		     LIST("kvm-clock"));
	report_paths("driver", "/sys/bus/virtio/drivers",
		     LIST("virtio_blk", "virtio_net", "virtio_console", "virtio_rng",
			  "virtio_balloon", "virtiofs", "virtio_mem",
			  "vmw_vsock_virtio_transport"));
	report_paths("driver", "/sys/bus/platform/drivers", LIST("vmgenid"));
	report_paths(
		"device", "/dev",
		LIST("vda", "hvc0", "hwrng", "fuse", "net/tun", "ptmx", "vsock", "loop-control"));
	network();
	device_filter();
	calls();
	return end(strcmp(wanted, "off") ? RB_AUTOBOOT : RB_POWER_OFF);
}
