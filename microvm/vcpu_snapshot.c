/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's state, to and from a snapshot. The order matters (Documentation/virt/kvm/api.rst): reading KVM_GET_MP_STATE may change the
 * local APIC; the APIC's base is one of the special registers; the deadline is one of the time-stamp counter, so that comes first; general
 * registers clear exceptions that are pending, so events come last.
 */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "microvm/cpuid.h"
#include "microvm/snapshot.h"
#include "microvm/vcpu.h"

#define MSRS_MAX         1024
#define MSR_TSC_DEADLINE 0x6e0u

struct registers {
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_lapic_state apic;
	struct kvm_vcpu_events events;
	uint64_t tsc_khz;
};

struct msrs {
	struct kvm_msrs header;
	struct kvm_msr_entry entries[MSRS_MAX];
};

static int failed(struct error *err, const char *what)
{
	return error_errno(err, errno, "%s", what);
}

#define TRY(vcpu, request, argument)                          \
	do {                                                  \
		if (ioctl((vcpu)->fd, request, argument) < 0) \
			return failed(err, #request);         \
	} while (0)

/* ---- saving -------------------------------------------------------------------------------- */

static int read_registers(const struct vcpu *vcpu, struct registers *all, struct error *err)
{
	int khz;

	TRY(vcpu, KVM_GET_MP_STATE, &all->mp_state);
	TRY(vcpu, KVM_GET_REGS, &all->regs);
	TRY(vcpu, KVM_GET_SREGS, &all->sregs);
	TRY(vcpu, KVM_GET_XSAVE, &all->xsave);
	TRY(vcpu, KVM_GET_XCRS, &all->xcrs);
	TRY(vcpu, KVM_GET_DEBUGREGS, &all->debug);
	TRY(vcpu, KVM_GET_LAPIC, &all->apic);
	khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	if (khz < 0)
		return failed(err, "KVM_GET_TSC_KHZ");
	all->tsc_khz = (uint64_t)khz;
	return 0;
}

/* Which there are; KVM names some that this processor has not. */
static int list_msrs(const struct vcpu *vcpu, struct msrs *msrs, struct error *err)
{
	struct {
		struct kvm_msr_list header;
		uint32_t indices[MSRS_MAX];
	} list = { .header = { .nmsrs = MSRS_MAX }, .indices = { 0 } };

	if (ioctl(vcpu->all->kvm->dev, KVM_GET_MSR_INDEX_LIST, &list) < 0)
		return failed(err, "KVM_GET_MSR_INDEX_LIST");
	for (uint32_t i = 0; i < list.header.nmsrs; i++)
		msrs->entries[i] = (struct kvm_msr_entry){ .index = list.indices[i] };
	msrs->header.nmsrs = list.header.nmsrs;
	return 0;
}

/* Reads as far as possible, leaves out what cannot be read, and goes on after that. */
static int read_msrs(const struct vcpu *vcpu, struct msrs *msrs, struct error *err)
{
	struct msrs some = { 0 };
	uint32_t all = msrs->header.nmsrs, kept = 0;

	for (uint32_t at = 0; at < all;) {
		uint32_t left = all - at;
		int n;

		some.header = (struct kvm_msrs){ .nmsrs = left };
		memcpy(some.entries, msrs->entries + at, left * sizeof(*some.entries));
		n = ioctl(vcpu->fd, KVM_GET_MSRS, &some);
		if (n < 0)
			return failed(err, "KVM_GET_MSRS");
		memmove(msrs->entries + kept, some.entries, (size_t)n * sizeof(*some.entries));
		kept += (uint32_t)n;
		at += (uint32_t)n + 1;
	}
	msrs->header.nmsrs = kept;
	return 0;
}

int vcpu_save(const struct vcpu *vcpu, struct snapshot *s, struct error *err)
{
	struct cpuid cpuid = { .header = { .nent = CPUID_ENTRIES_MAX } };
	struct registers registers = { 0 };
	struct msrs msrs = { 0 };
	int r = read_registers(vcpu, &registers, err);

	if (r == 0)
		r = list_msrs(vcpu, &msrs, err);
	if (r == 0)
		r = read_msrs(vcpu, &msrs, err);
	if (r < 0)
		return error_wrap(err, "processor %u", vcpu->index);
	TRY(vcpu, KVM_GET_VCPU_EVENTS, &registers.events);
	TRY(vcpu, KVM_GET_CPUID2, &cpuid);
	snapshot_put(s, SNAPSHOT_CPUID, &cpuid,
		     sizeof(cpuid.header) + cpuid.header.nent * sizeof(*cpuid.entries));
	snapshot_put(s, SNAPSHOT_REGISTERS, &registers, sizeof(registers));
	snapshot_put(s, SNAPSHOT_MSRS, msrs.entries, msrs.header.nmsrs * sizeof(*msrs.entries));
	return 0;
}

/* ---- restoring ----------------------------------------------------------------------------- */

static int restore_cpuid(const struct vcpu *vcpu, struct snapshot *s, struct error *err)
{
	struct cpuid cpuid;
	const void *data;
	size_t len;
	int r = snapshot_take(s, SNAPSHOT_CPUID, &data, &len, err);

	if (r < 0)
		return r;
	if (len < sizeof(cpuid.header) || len > sizeof(cpuid))
		return error_set(err, EBADMSG, "the snapshot's CPUID makes no sense");
	memcpy(&cpuid, data, len);
	if (cpuid.header.nent != (len - sizeof(cpuid.header)) / sizeof(*cpuid.entries))
		return error_set(err, EBADMSG, "the snapshot's CPUID makes no sense");
	TRY(vcpu, KVM_SET_CPUID2, &cpuid);
	return 0;
}

/* The guest's clock runs on as fast as it did: where the host's is another, KVM scales, if the processor can. */
static int restore_clock(const struct vcpu *vcpu, uint64_t khz, struct error *err)
{
	int now = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	uint64_t difference = now < 0               ? 0
			      : khz > (uint64_t)now ? khz - (uint64_t)now
						    : (uint64_t)now - khz;

	if (now < 0)
		return failed(err, "KVM_GET_TSC_KHZ");
	if (difference <= khz / 4000) /* 250 parts per million: what clocks differ by anyway */
		return 0;
	if (ioctl(vcpu->fd, KVM_SET_TSC_KHZ, khz) < 0)
		return error_errno(
			err, errno,
			"the guest's time-stamp counter runs at %llu kHz, this host's at %d",
			(unsigned long long)khz, now);
	return 0;
}

static int restore_registers(const struct vcpu *vcpu, struct registers *all, struct error *err)
{
	int r = restore_clock(vcpu, all->tsc_khz, err);

	if (r < 0)
		return r;
	TRY(vcpu, KVM_SET_MP_STATE, &all->mp_state);
	TRY(vcpu, KVM_SET_REGS, &all->regs);
	TRY(vcpu, KVM_SET_SREGS, &all->sregs);
	TRY(vcpu, KVM_SET_XSAVE, &all->xsave);
	TRY(vcpu, KVM_SET_XCRS, &all->xcrs);
	TRY(vcpu, KVM_SET_DEBUGREGS, &all->debug);
	TRY(vcpu, KVM_SET_LAPIC, &all->apic);
	return 0;
}

/* Some can be read, and written only with what they have. */
static bool has_value(const struct vcpu *vcpu, const struct kvm_msr_entry *entry)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} now = { .header = { .nmsrs = 1 }, .entry = { .index = entry->index } };

	return ioctl(vcpu->fd, KVM_GET_MSRS, &now) == 1 && now.entry.data == entry->data;
}

static int write_msrs(const struct vcpu *vcpu, const struct kvm_msr_entry *entries, uint32_t count,
		      struct error *err)
{
	struct msrs some = { 0 };

	for (uint32_t at = 0; at < count;) {
		uint32_t left = count - at;
		int n;

		some.header = (struct kvm_msrs){ .nmsrs = left };
		memcpy(some.entries, entries + at, left * sizeof(*entries));
		n = ioctl(vcpu->fd, KVM_SET_MSRS, &some);
		if (n < 0)
			return failed(err, "KVM_SET_MSRS");
		at += (uint32_t)n;
		if (at < count && !has_value(vcpu, &entries[at]))
			return error_set(err, EIO, "KVM does not let the MSR %#x be restored",
					 entries[at].index);
		at += at < count;
	}
	return 0;
}

static int restore_msrs(const struct vcpu *vcpu, struct snapshot *s, struct error *err)
{
	struct kvm_msr_entry entries[MSRS_MAX], deadline = { 0 };
	uint32_t count = 0;
	const void *data;
	size_t len;
	int r = snapshot_take(s, SNAPSHOT_MSRS, &data, &len, err);

	if (r < 0)
		return r;
	if (len > sizeof(entries))
		return error_set(err, EBADMSG, "the snapshot has too many MSRs");
	for (size_t at = 0; at + sizeof(*entries) <= len; at += sizeof(*entries)) {
		memcpy(&entries[count], (const char *)data + at, sizeof(*entries));
		if (entries[count].index == MSR_TSC_DEADLINE)
			deadline = entries[count];
		else
			count++;
	}
	r = write_msrs(vcpu, entries, count, err);
	return r < 0 || !deadline.index ? r : write_msrs(vcpu, &deadline, 1, err);
}

int vcpu_restore(const struct vcpu *vcpu, struct snapshot *s, struct error *err)
{
	struct registers registers;
	int r = restore_cpuid(vcpu, s, err);

	if (r == 0)
		r = snapshot_get(s, SNAPSHOT_REGISTERS, &registers, sizeof(registers), err);
	if (r == 0)
		r = restore_registers(vcpu, &registers, err);
	if (r == 0)
		r = restore_msrs(vcpu, s, err);
	if (r < 0)
		return r;
	TRY(vcpu, KVM_SET_VCPU_EVENTS, &registers.events);
	/* Its watchdogs shall not bark about the time that it was away; refused where it has no such clock. */
	ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	return 0;
}
