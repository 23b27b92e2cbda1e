/* SPDX-License-Identifier: Apache-2.0 */
/* The state that a processor begins in; see vcpu.h, boot.h. */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "microvm/cpuid.h"
#include "microvm/layout.h"
#include "microvm/vcpu.h"

/* Intel SDM volume 4 */
#define MSR_MISC_ENABLE   0x1a0u
#define MISC_FAST_STRING  1u
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ENABLE       (1u << 11)
#define MTRR_WRITE_BACK   6u

/* Local APIC registers and their delivery modes: volume 3A, 11.5.1 */
#define APIC_LINT0         0x350u
#define APIC_LINT1         0x360u
#define APIC_MODE_MASK     0x700u
#define APIC_MODE_NMI      0x400u
#define APIC_MODE_EXTERNAL 0x700u
#define APIC_MASKED        (1u << 16)

#define CR0_PE        (1u << 0)
#define CR0_ET        (1u << 4)
#define CR0_PG        (1u << 31)
#define CR4_PAE       (1u << 5)
#define EFER_LME      (1u << 8)
#define EFER_LMA      (1u << 10)
#define RFLAGS_ALWAYS (1u << 1)

#define SEGMENT_CODE 11u /* executable, readable, accessed */
#define SEGMENT_DATA 3u  /* writable, accessed */
#define SEGMENT_TASK 11u /* a busy one */

/* What the reset does not do, and a kernel takes for granted: fast string operations, memory that is cached. */
static int set_msrs(struct vcpu *vcpu, struct error *err)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.header = { .nmsrs = 2 },
		.entries = {
			{ .index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING },
			{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK },
		},
	};
	int n = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);

	if (n < 0)
		return error_errno(err, errno, "KVM_SET_MSRS");
	if ((unsigned)n < msrs.header.nmsrs)
		return error_set(err, EIO, "KVM does not let the MSR %#x be set",
				 msrs.entries[n].index);
	return 0;
}

static void set_delivery(struct kvm_lapic_state *apic, unsigned reg, uint32_t mode)
{
	uint32_t value;

	memcpy(&value, apic->regs + reg, sizeof(value));
	value = (value & ~(APIC_MODE_MASK | APIC_MASKED)) | mode;
	memcpy(apic->regs + reg, &value, sizeof(value));
}

/* Wired as on a PC: the PIC on one pin, non-maskable interrupts on the other (MultiProcessor Specification 1.4, 3.6.2). */
static int set_apic(struct vcpu *vcpu, struct error *err)
{
	struct kvm_lapic_state apic;

	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &apic) < 0)
		return error_errno(err, errno, "KVM_GET_LAPIC");
	set_delivery(&apic, APIC_LINT0, APIC_MODE_EXTERNAL);
	set_delivery(&apic, APIC_LINT1, APIC_MODE_NMI);
	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &apic) < 0)
		return error_errno(err, errno, "KVM_SET_LAPIC");
	return 0;
}

int vcpu_reset_state(struct vcpu *vcpu, struct cpuid *cpuid, struct error *err)
{
	int r;

	cpuid_adjust(cpuid, vcpu->index, vcpu->all->count);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		return error_errno(err, errno, "KVM_SET_CPUID2");
	r = set_msrs(vcpu, err);
	return r < 0 ? r : set_apic(vcpu, err);
}

/* ---- boot --------------------------------------------------------------------------------- */

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.db = !long_mode,
		.l = long_mode,
		.g = 1,
	};
}

static void set_segments(struct kvm_sregs *sregs, bool long_mode)
{
	sregs->cs = flat(long_mode ? BOOT_SELECTOR_CODE64 : BOOT_SELECTOR_CODE32, SEGMENT_CODE,
			 long_mode);
	sregs->ds = flat(BOOT_SELECTOR_DATA, SEGMENT_DATA, false);
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
	sregs->tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = BOOT_SELECTOR_TASK,
		.type = SEGMENT_TASK,
		.present = 1,
	};
	sregs->gdt.base = LAYOUT_GDT;
	sregs->gdt.limit = BOOT_GDT_ENTRIES * 8 - 1;
	/* No handlers: an exception before the kernel has its own ends the machine. */
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
}

static void set_long_mode(struct kvm_sregs *sregs)
{
	sregs->cr3 = LAYOUT_PML4;
	sregs->cr4 |= CR4_PAE;
	sregs->efer |= EFER_LME | EFER_LMA;
	sregs->cr0 |= CR0_PG;
}

int vcpu_boot_state(struct vcpu *vcpu, const struct boot_state *boot, struct error *err)
{
	struct kvm_regs regs = { .rip = boot->entry, .rflags = RFLAGS_ALWAYS };
	struct kvm_sregs sregs;

	/* Where the APIC is, for one, stays as it is. */
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return error_errno(err, errno, "KVM_GET_SREGS");
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr4 = 0;
	set_segments(&sregs, boot->kind == BOOT_LINUX);
	if (boot->kind == BOOT_LINUX) {
		set_long_mode(&sregs);
		regs.rsi = boot->info;
		regs.rsp = regs.rbp = LAYOUT_STACK;
	} else {
		regs.rbx = boot->info;
	}
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
		return error_errno(err, errno, "KVM_SET_SREGS");
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return error_errno(err, errno, "KVM_SET_REGS");
	return 0;
}
