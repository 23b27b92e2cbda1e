/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID of the guest's processors; see cpuid.h. Sources: Intel SDM volume 2A "CPUID", AMD APM volume 3 appendix E,
 * Documentation/virt/kvm/api.rst on KVM_GET_SUPPORTED_CPUID.
 */
#include "microvm/cpuid.h"

#include <cpuid.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#define LEAF_FEATURES      1u
#define LEAF_CACHES        4u
#define LEAF_POWER         6u
#define LEAF_MORE_FEATURES 7u
#define LEAF_COUNTERS      0xau
#define LEAF_TOPOLOGY      0xbu
#define LEAF_BRAND         0x80000002u /* and the next two */
#define LEAF_AMD_SIZES     0x80000008u
#define LEAF_AMD_CACHES    0x8000001du
#define LEAF_AMD_TOPOLOGY  0x8000001eu

/* Leaf 1 */
#define ECX_PDCM         (1u << 15)
#define ECX_TSC_DEADLINE (1u << 24)
#define ECX_HYPERVISOR   (1u << 31)
#define EDX_HTT          (1u << 28) /* "more than one processor in the package" */
/* Leaves 6 and 7 */
#define ECX_ENERGY_BIAS (1u << 3)
#define ECX_WAITPKG     (1u << 5)

int cpuid_read_supported(int dev, struct cpuid *cpuid, struct error *err)
{
	cpuid->header = (struct kvm_cpuid2){ .nent = CPUID_ENTRIES_MAX };
	if (ioctl(dev, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
		return error_errno(err, errno, "KVM_GET_SUPPORTED_CPUID");
	return 0;
}

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < cpuid->header.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == leaf &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf))
			return e;
	}
	return NULL;
}

/* How many bits the ids of count processors take. */
static unsigned id_bits(unsigned count)
{
	unsigned bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

static uint32_t with_bits(uint32_t word, unsigned low, unsigned width, uint32_t value)
{
	uint32_t mask = ((1u << width) - 1) << low;

	return (word & ~mask) | (value << low & mask);
}

static void adjust_features(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	e->ebx = with_bits(e->ebx, 8, 8, 8); /* CLFLUSH: 64 bytes */
	e->ebx = with_bits(e->ebx, 16, 8, count <= 128 ? 1u << id_bits(count) : 255);
	e->ebx = with_bits(e->ebx, 24, 8, index);
	e->ecx |= ECX_HYPERVISOR | ECX_TSC_DEADLINE;
	e->ecx &= ~ECX_PDCM;
	e->edx = count > 1 ? e->edx | EDX_HTT : e->edx & ~EDX_HTT;
}

/* Level 1 and 2 belong to one core, level 3 to all. Both vendors' leaves have the same fields there. */
static void adjust_caches(struct kvm_cpuid_entry2 *e, unsigned count)
{
	unsigned level = e->eax >> 5 & 7;

	e->eax = with_bits(e->eax, 14, 12, level >= 3 ? count - 1 : 0);
	if (e->function == LEAF_CACHES)
		e->eax = with_bits(e->eax, 26, 6, count < 64 ? count - 1 : 63);
}

/* The entry of a subleaf, made where it is missing. NULL where there is no more room. */
static struct kvm_cpuid_entry2 *make_subleaf(struct cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(cpuid, leaf, subleaf);

	if (!e && cpuid->header.nent < CPUID_ENTRIES_MAX)
		e = &cpuid->entries[cpuid->header.nent++];
	if (e)
		*e = (struct kvm_cpuid_entry2){
			.function = leaf,
			.index = subleaf,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
	return e;
}

/* Threads (1 a core), then cores; the list ends with a level of type 0. */
static void adjust_topology(struct cpuid *cpuid, unsigned index, unsigned count)
{
	unsigned bits[] = { 0, id_bits(count), 0 }, processors[] = { 1, count, 0 };

	for (uint32_t level = 0; level < 3; level++) {
		struct kvm_cpuid_entry2 *e = make_subleaf(cpuid, LEAF_TOPOLOGY, level);

		if (!e)
			return;
		e->eax = bits[level];
		e->ebx = processors[level];
		e->ecx = level | (level < 2 ? (level + 1) << 8 : 0);
		e->edx = index;
	}
}

static void adjust_brand(struct kvm_cpuid_entry2 *e)
{
	__get_cpuid(e->function, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

void cpuid_adjust(struct cpuid *cpuid, unsigned index, unsigned count)
{
	for (uint32_t i = 0; i < cpuid->header.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case LEAF_FEATURES:
			adjust_features(e, index, count);
			break;
		case LEAF_CACHES:
		case LEAF_AMD_CACHES:
			if (e->eax & 0x1f)
				adjust_caches(e, count);
			break;
		case LEAF_POWER:
			e->ecx &= ~ECX_ENERGY_BIAS;
			break;
		case LEAF_MORE_FEATURES:
			if (e->index == 0)
				e->ecx &= ~ECX_WAITPKG;
			break;
		case LEAF_COUNTERS:
			e->eax = e->ebx = e->ecx = e->edx = 0;
			break;
		case LEAF_BRAND:
		case LEAF_BRAND + 1:
		case LEAF_BRAND + 2:
			adjust_brand(e);
			break;
		case LEAF_AMD_SIZES:
			e->ecx = with_bits(e->ecx, 0, 8, count - 1);
			e->ecx = with_bits(e->ecx, 12, 4, id_bits(count));
			break;
		case LEAF_AMD_TOPOLOGY:
			e->eax = index;
			e->ebx = index; /* the core's id; one thread */
			e->ecx = 0;     /* one node */
			break;
		}
	}
	if (cpuid_find(cpuid, 0, 0) && cpuid_find(cpuid, 0, 0)->eax >= LEAF_TOPOLOGY)
		adjust_topology(cpuid, index, count);
}
