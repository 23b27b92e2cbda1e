/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of a virtual machine: the least that the kernel charges for one, up to its first instruction, with no monitor around
 * it. A yardstick for hull-vmm's start time.
 *
 * usage: kvmfloor [MIB]      (default: 128 MiB of memory)
 *
 * One processor with its interrupt controllers, in 64-bit mode, whose first instruction writes to a port; then this prints a line.
 * The order of its steps is that of KVM's documentation and of other monitors.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PORT   0x3f8
#define CODE   0x4000u /* page tables before it, nothing after it */
#define TABLES 0x1000u

static int must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "kvmfloor: %s: %s\n", what, strerror(errno));
		exit(125);
	}
	return result;
}

/* Three levels that map the first 2 MiB to themselves, and "out %al, (%dx)". */
static void write_guest(uint8_t *memory)
{
	uint64_t entries[] = { (TABLES + 0x1000) | 3, (TABLES + 0x2000) | 3, 0x83 };

	for (size_t i = 0; i < 3; i++)
		memcpy(memory + TABLES + 0x1000 * i, &entries[i], sizeof(entries[i]));
	memory[CODE] = 0xee;
}

static void enter_long_mode(int vcpu)
{
	struct kvm_segment code = {
		.limit = UINT32_MAX,
		.selector = 8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = code;
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rdx = PORT };
	struct kvm_sregs sregs;

	data.selector = 16;
	data.type = 3;
	data.l = 0;
	data.db = 1;
	must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 = 1u << 31 | 1;
	sregs.cr3 = TABLES;
	sregs.cr4 = 1u << 5;
	sregs.efer = 1u << 8 | 1u << 10;
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

int main(int argc, char **argv)
{
	size_t size = (argc > 1 ? strtoul(argv[1], NULL, 10) : 128) << 20;
	int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm"), vm, vcpu, run_size;
	struct kvm_userspace_memory_region slot = { .memory_size = size };
	struct kvm_run *run;
	void *memory;

	vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(memory == MAP_FAILED ? -1 : 0, "mmap");
	slot.userspace_addr = (uintptr_t)memory;
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	write_guest(memory);
	vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run_size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	must(run == MAP_FAILED ? -1 : 0, "mmap");
	enter_long_mode(vcpu);
	must(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT) {
		fprintf(stderr, "kvmfloor: the guest left for the reason %u\n", run->exit_reason);
		return 125;
	}
	puts("entered");
	return 0;
}
