/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's processors: a thread each, which makes its vCPU, enters the guest, and answers its exits.
 *
 * Once struct vcpu_ops' enter() was called, a vCPU thread makes no other system calls than ioctl(2) on its vCPU, futex(2),
 * write(2) and read(2) on eventfds, what a device's register accesses make (virtio_mmio.h), what a line of the log takes, and
 * those of a thread's end (munmap, madvise, exit, rt_sigprocmask); it gets a signal, so also rt_sigreturn(2).
 */
#ifndef HULL_MICROVM_VCPU_H
#define HULL_MICROVM_VCPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "microvm/boot.h"
#include "microvm/ending.h"
#include "microvm/kvm.h"

struct cpuid;
struct kvm_run;
struct snapshot;

/* What exits lead to: called by vCPU threads, by several at once. machine is that of vcpus_start(). */
struct vcpu_ops {
	/* Before the first instruction of the guest: the thread confines itself. May be NULL. */
	int (*enter)(void *machine, unsigned index, struct error *err);
	/* An access to a port: size is 1, 2 or 4. False: it ended the machine, and the processor does not go on. */
	bool (*port)(void *machine, uint16_t port, bool write, void *data, unsigned size);
	/* An access to what is no memory: size is 1 to 8. */
	void (*mmio)(void *machine, uint64_t address, bool write, void *data, unsigned size);
	/* The processor cannot go on. */
	void (*end)(void *machine, enum vmm_end_reason reason, const char *why);
};

struct vcpu {
	struct vcpus *all;
	unsigned index;
	int fd;              /* KVM's; for ioctls while the vCPU is paused, too */
	struct kvm_run *run; /* shared with the kernel */
	pthread_t thread;
	bool started; /* there is a thread */
};

enum vcpus_state { VCPUS_MAKING, VCPUS_RUNNING, VCPUS_PAUSED, VCPUS_ENDING };

struct vcpus {
	const struct kvm *kvm;
	const struct vcpu_ops *ops;
	void *machine;
	struct boot_state boot; /* where the first processor begins */
	struct snapshot *saved; /* or what they all go on from, one each; NULL: they begin */
	struct vcpu *items;
	unsigned count;
	struct cpuid *supported; /* what KVM offers; empty until the first thread asked */

	pthread_mutex_t lock; /* for what follows, and for supported */
	pthread_cond_t changed;
	enum vcpus_state state;
	unsigned made;      /* threads that made their vCPU, or failed to */
	unsigned stopped;   /* threads that are between two instructions, and wait; or have ended */
	struct error error; /* the first of a thread's */
};

/*
 * Starts count threads, which make their vCPUs while the caller does something else: vcpus_run() waits for them. saved, if it is not
 * NULL, has the records of each (vcpu_save()). kvm, ops, machine and saved
 * must outlive vcpus_free(), which undoes this. Signals are blocked in the threads, but for one of the process' last
 * (SIGRTMAX), which means that one should look up.
 */
int vcpus_start(struct vcpus *vcpus, unsigned count, const struct kvm *kvm,
		const struct vcpu_ops *ops, void *machine, struct snapshot *saved,
		struct error *err);

/* Waits until all are made; where one could not be, its error. */
int vcpus_await(struct vcpus *vcpus, struct error *err);

/*
 * Lets the guest begin: the first processor at vcpus->boot, which is set before; the others wait for the guest to start them. Or
 * all where they were saved.
 * Returns when all are made; where one could not be, its error.
 */
int vcpus_run(struct vcpus *vcpus, struct error *err);

/*
 * Stops all between two instructions: with what a guest's access to a device led to complete, and no thread in a device. Returns
 * when they have stopped. Not with a device's lock held, nor from a vCPU thread. Twice is once.
 */
void vcpus_pause(struct vcpus *vcpus);
/* Lets them go on; the guest's watchdogs are told that time was lost (KVM_KVMCLOCK_CTRL). */
void vcpus_resume(struct vcpus *vcpus);

/* Ends the threads, also of a guest that goes on. The vCPUs stay. */
void vcpus_stop(struct vcpus *vcpus);

/* Stops, and closes the vCPUs. */
void vcpus_free(struct vcpus *vcpus);

/* Puts the state of a vCPU that is paused into a snapshot. Any thread. */
int vcpu_save(const struct vcpu *vcpu, struct snapshot *s, struct error *err);

/* ---- between vcpu.c, vcpu_state.c and vcpu_snapshot.c ------------------------------------------------------- */

/* Sets CPUID, MSRs and the local APIC as a processor has them after its reset. */
int vcpu_reset_state(struct vcpu *vcpu, struct cpuid *cpuid, struct error *err);
/* Puts the first processor where the kernel begins. */
int vcpu_boot_state(struct vcpu *vcpu, const struct boot_state *boot, struct error *err);
/* Puts it where it was when it was saved. */
int vcpu_restore(const struct vcpu *vcpu, struct snapshot *s, struct error *err);

#endif
