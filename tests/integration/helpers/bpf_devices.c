/* SPDX-License-Identifier: Apache-2.0 */
/* Prints how many device filters (eBPF programs) are attached to a cgroup of v2: bpf_devices DIRECTORY */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int dir = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	uint32_t ids[64];
	union bpf_attr attr;

	if (dir < 0) {
		fprintf(stderr, "usage: bpf_devices DIRECTORY\n");
		return 2;
	}
	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = (uint32_t)dir;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
	attr.query.prog_cnt = sizeof(ids) / sizeof(ids[0]);
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) < 0) {
		fprintf(stderr, "BPF_PROG_QUERY: %s\n", strerror(errno));
		return 1;
	}
	printf("%u\n", attr.query.prog_cnt);
	return 0;
}
