/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's processors say of themselves: what KVM offers on this host, with the machine's own topology. */
#ifndef HULL_MICROVM_CPUID_H
#define HULL_MICROVM_CPUID_H

#include <linux/kvm.h>
#include <stdint.h>

#include "base/error.h"

#define CPUID_ENTRIES_MAX 256 /* KVM's own limit */

/* A struct kvm_cpuid2 with room. */
struct cpuid {
	struct kvm_cpuid2 header; /* nent: how many entries there are */
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* Asks /dev/kvm what it supports. */
int cpuid_read_supported(int dev, struct cpuid *cpuid, struct error *err);

/*
 * Adjusts what KVM supports for the processor index (also its APIC id) of count: one package of count cores without
 * threads, which share the last cache; a hypervisor, with the deadline timer; nothing that needs what the monitor does not
 * emulate (performance counters, energy bias, WAITPKG, PDCM); the host's brand string.
 */
void cpuid_adjust(struct cpuid *cpuid, unsigned index, unsigned count);

/* The entry of a leaf and subleaf; NULL where there is none. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *cpuid, uint32_t leaf, uint32_t subleaf);

#endif
