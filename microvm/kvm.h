/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev/kvm and one virtual machine: its memory slots, the interrupt controllers that the kernel emulates, and the eventfds
 * by which devices interrupt the guest and hear of its notifications (Documentation/virt/kvm/api.rst).
 */
#ifndef HULL_MICROVM_KVM_H
#define HULL_MICROVM_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "microvm/guest_memory.h"

struct kvm {
	int dev;         /* /dev/kvm */
	int vm;          /* the machine; -EBADF before kvm_create_vm() */
	size_t run_size; /* bytes of a vCPU's shared structure */
	/*
	 * Why ordinary kernels do not run in it; code 0 where they do. A paravirtual one (kvm_pvm), which needs no
	 * virtualisation in the processor, runs only kernels that were made for it. A jail cannot find out any more.
	 */
	struct error unfit;
};

/* Opens /dev/kvm, and sees that it is of the known version and has what the monitor uses; one clear line where not. */
int kvm_open(struct kvm *kvm, struct error *err);

/* Makes the machine, with memory as its memory, PIC, IOAPIC and (in each vCPU) local APIC. */
int kvm_create_vm(struct kvm *kvm, const struct guest_memory *memory, struct error *err);

void kvm_close(struct kvm *kvm);

struct snapshot;
/*
 * The guest's clock and the interrupt controllers of the machine, while no vCPU runs. They are restored once the vCPUs' own are, for they
 * hand on to those what is pending.
 */
int kvm_save(const struct kvm *kvm, struct snapshot *s, struct error *err);
int kvm_restore(const struct kvm *kvm, struct snapshot *s, struct error *err);

/* Begins or ends to note which pages the guest writes; and adds (or) those that it wrote since, as guest_memory_take_dirty() does. */
int kvm_track(const struct kvm *kvm, const struct guest_memory *memory, bool on, struct error *err);
int kvm_take_dirty(const struct kvm *kvm, const struct guest_memory *memory, uint64_t *words,
		   struct error *err);

/* Each write to the eventfd raises the edge-triggered interrupt gsi once. */
int kvm_irqfd(const struct kvm *kvm, unsigned gsi, int fd, struct error *err);

/* A 32-bit write of value to address (guest-physical) no longer leaves the guest, but adds to the eventfd. */
int kvm_ioeventfd(const struct kvm *kvm, uint64_t address, uint32_t value, int fd,
		  struct error *err);

/* Opens it, and sees that ordinary kernels run in it: 0 where microVMs can run here, else a negative errno with the reason, one line. */
int kvm_check(struct error *err);

#endif
