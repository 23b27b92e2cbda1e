/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole virtual machine: vmm_new() makes it from a description, vmm_run() runs it to its end. The calling thread is the device
 * thread; each processor has one of its own.
 *
 *     vmm_new()   KVM, memory, threads that make the vCPUs; meanwhile devices, kernel, initrd, ACPI tables
 *     vmm_run()   the guest begins; devices are served and signals taken until it ends
 *     vmm_free()
 *
 * The process must be confined before vmm_new() where that is a matter of the whole process (namespaces, root directory, user):
 * there are threads afterwards. Each thread confines itself in the hook.
 */
#ifndef HULL_MICROVM_VMM_H
#define HULL_MICROVM_VMM_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>

#include "base/error.h"
#include "microvm/ending.h"
#include "microvm/guest_memory.h"
#include "microvm/kvm.h"
#include "microvm/layout.h"
#include "microvm/loop.h"
#include "microvm/serial.h"
#include "microvm/snapshot.h"
#include "microvm/vcpu.h"
#include "microvm/virtio.h"

#define VMM_DISKS_MAX  8
#define VMM_CARDS_MAX  8
#define VMM_GUEST_CID  3 /* of every guest: its vsock ends in its monitor */
#define VMM_LINES_MAX  2048
#define VMM_MEMORY_MIN (UINT64_C(2) << 20) /* bytes; what a kernel needs is more */

enum vmm_thread { VMM_THREAD_VCPU };

struct vmm_hooks {
	/* In a thread of the machine, before it runs the guest: it confines itself. NULL: it does not. */
	int (*enter_thread)(void *data, enum vmm_thread thread, struct error *err);
	/* The guest has begun. NULL: nobody wants to know. */
	void (*started)(void *data);
	/* A signal to this process, in the device thread. NULL: SIGTERM, SIGINT, SIGHUP and SIGQUIT end the machine, others do nothing. */
	void (*signalled)(void *data, const struct signalfd_siginfo *info);
	/* Puts what is to be kept of the process itself behind the machine's state; there it is in vmm->snapshot after vmm_new(). NULL: nothing. */
	int (*save)(void *data, struct snapshot *s, struct error *err);
	/*
	 * Has the guest hold its workload still, before it is saved from outside: what came of it goes to control_held(). NULL: it cannot be told.
	 * And lets it go on.
	 */
	int (*hold)(void *data, struct error *err);
	void (*release)(void *data);
	void *data;
};

/* Descriptors are the machine's from vmm_new() on, also on an error; -1 where there is none. */
struct vmm_config {
	const struct kvm
		*kvm; /* open already, and the machine's from vmm_new() on; NULL: it is opened */
	int kernel, initrd;  /* boot.h */
	const char *cmdline; /* NULL: an empty one */
	unsigned cpus;       /* 1 to LAYOUT_CPUS_MAX */
	uint64_t memory;     /* bytes; a multiple of the page size, at least VMM_MEMORY_MIN */
	struct virtio_blk_options disks[VMM_DISKS_MAX];
	unsigned disk_count;
	int console_input, console_output; /* a virtio console, where there is an output */
	struct virtio_net_options cards[VMM_CARDS_MAX];
	unsigned card_count;
	int file_server; /* a socket to one (virtio_fs.h) */
	const char *fs_tag;
	bool vsock; /* virtio_vsock.h */
	int vsock_listener, vsock_directory;
	int serial; /* where what the guest writes to COM1 goes */
	/*
	 * A file of vmm_save()'s: the machine, which has the same processors, memory and devices, goes on from there, and kernel, initrd and
	 * command line are not looked at. Where the file server's state was saved, it must have that.
	 */
	int restore;
	struct vmm_hooks hooks;
};

/* One processor, 128 MiB, no descriptors. */
void vmm_config_init(struct vmm_config *config);

/* How a machine ended. */
struct vmm_ending {
	enum vmm_end_reason reason;
	int signal;                /* VMM_END_KILLED: by which; 0: by a request */
	char text[ERROR_TEXT_MAX]; /* VMM_END_CRASH: what happened, one line; else "" */
	char lines
		[VMM_LINES_MAX]; /* the last that the guest wrote to its serial port; printable (serial_last_lines()) */
};

struct vmm {
	struct vmm_config config;
	struct kvm kvm;
	struct guest_memory memory;
	struct loop loop;
	struct serial serial;
	struct virtio_device *devices[LAYOUT_MMIO_MAX];
	unsigned device_count;
	struct virtio_device *vsock, *balloon, *files, *cards[VMM_CARDS_MAX]; /* among them */
	bool paused;
	struct snapshot snapshot; /* what it is restored from, until it is */
	struct snapshot *saved_vcpus;
	struct snapshot_pages saved_pages; /* between vmm_save_begin() and vmm_save_end() */
	uint64_t *changed_pages;           /* and a round was made; else NULL */
	struct vcpus vcpus;
	bool has_vcpus;
	int signal_fd, end_fd;
	struct loop_source signal_source, end_source;
	sigset_t signals_before;
	bool signals_blocked;
	pthread_mutex_t lock; /* for ending */
	struct vmm_ending ending;
};

/* Blocks all signals in the calling thread, until vmm_free(). NULL with the error where the machine cannot be made. */
struct vmm *vmm_new(const struct vmm_config *config, struct error *err);

/* Runs the machine until it ends; 0, and *ending says how. An error is the monitor's own. Once a machine. */
int vmm_run(struct vmm *vmm, struct vmm_ending *ending, struct error *err);

/* Ends it, if nothing else did: vmm_run() returns. Any thread. text may be NULL. */
void vmm_end(struct vmm *vmm, enum vmm_end_reason reason, int signal, const char *text);

/*
 * Stops the guest, and lets it go on; called in callbacks of the device thread that are no device's. vmm_pause() returns when every
 * processor has stopped between two instructions (vcpus_pause()). Devices still serve what is in their queues already.
 */
void vmm_pause(struct vmm *vmm);
void vmm_resume(struct vmm *vmm);

/*
 * Saving a machine to an empty file (snapshot.h), from which any number can be made (struct vmm_config, restore). In the device thread,
 * in no device's callback. vmm_snapshot.c
 *
 *     vmm_save_begin()    the file stays the caller's
 *     vmm_save_round()    any number of times, while the guest runs: begins to copy the pages that it wrote since the last time
 *     vmm_save_step()     copies some of them (snapshot_pages_step()), and says how many there were so far, until it returns 0
 *     vmm_save()          the machine, which is paused, and the pages that are left
 *     vmm_save_end()      whatever happened
 *
 * files: an empty file for the state of the file server, -1: that has not been used. -EBUSY where something that cannot be saved is
 * under way, -ENOTSUP where a device cannot be saved. Of vsock connections those live on whose host's side is this process; the guest
 * of a restored machine finds the others reset.
 */
int vmm_save_begin(struct vmm *vmm, int fd, struct error *err);
int vmm_save_round(struct vmm *vmm, struct error *err);
int vmm_save_step(struct vmm *vmm, uint64_t bytes, uint64_t *pages, struct error *err);
int vmm_save(struct vmm *vmm, int files, uint64_t *pages, struct error *err);
void vmm_save_end(struct vmm *vmm);

/* Between vmm.c and vmm_snapshot.c: the machine's own record, which must be of the same machine; each vCPU's, to be freed; and the rest. */
int vmm_restore_vcpus(const struct vmm *vmm, struct snapshot *s, struct snapshot **vcpus,
		      struct error *err);
int vmm_restore(struct vmm *vmm, struct snapshot *s, struct error *err);

void vmm_free(struct vmm *vmm);

#endif
