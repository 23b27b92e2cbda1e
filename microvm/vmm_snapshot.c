/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole machine, to and from a snapshot (snapshot.h). Saved are first the devices, which finish what they have begun, then the vCPUs,
 * then what the kernel has of the machine, and last its memory; restored are first memory (vmm.c) and vCPUs, then the interrupt controllers, which hand on to
 * those what is pending, and last the devices, which may interrupt.
 */
#include <string.h>
#include <sys/random.h>

#include "microvm/snapshot.h"
#include "microvm/vmm.h"

struct saved_machine {
	uint64_t memory; /* bytes */
	uint64_t cpus;
};

/* Records in the order in which they are restored, which is not that in which they come to be. */
static int save_state(struct vmm *vmm, struct snapshot *s, struct error *err)
{
	const struct saved_machine machine = { vmm->config.memory, vmm->config.cpus };
	_cleanup_snapshot_ struct snapshot devices;
	int r = 0;

	snapshot_begin(&devices);
	for (unsigned i = 0; r == 0 && i < vmm->device_count; i++)
		r = virtio_save(vmm->devices[i], &devices, err);
	snapshot_put(s, SNAPSHOT_MACHINE, &machine, sizeof(machine));
	for (unsigned i = 0; r == 0 && i < vmm->vcpus.count; i++) {
		size_t entered = snapshot_enter(s, SNAPSHOT_VCPU);

		r = vcpu_save(&vmm->vcpus.items[i], s, err);
		snapshot_leave(s, entered);
	}
	if (r < 0)
		return r;
	r = kvm_save(&vmm->kvm, s, err);
	if (r < 0)
		return r;
	serial_save(&vmm->serial, s);
	snapshot_append(s, &devices);
	return vmm->config.hooks.save ? vmm->config.hooks.save(vmm->config.hooks.data, s, err) : 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

int vmm_save_begin(struct vmm *vmm, int fd, struct error *err)
{
	vmm_save_end(vmm);
	return snapshot_pages_begin(&vmm->saved_pages, fd, err);
}

/* From now on it is known which pages change: the guest's writes from KVM, the devices' from themselves. */
static int begin_to_track(struct vmm *vmm, struct error *err)
{
	bool paused = vmm->paused;
	int r;

	vmm->changed_pages =
		calloc(guest_memory_dirty_words(&vmm->memory), sizeof(*vmm->changed_pages));
	if (!vmm->changed_pages)
		return error_errno(err, ENOMEM, "track the guest's memory");
	r = guest_memory_prepare_track(&vmm->memory, err);
	if (r == 0 && vmm->files)
		r = virtio_fs_track(vmm->files, vmm->memory.dirty_fd, err);
	if (r < 0)
		return r;
	/* So that no vCPU's thread is in a device. */
	vmm_pause(vmm);
	guest_memory_track(&vmm->memory);
	r = kvm_track(&vmm->kvm, &vmm->memory, true, err);
	if (!paused)
		vmm_resume(vmm);
	return r;
}

static int find_changed(struct vmm *vmm, struct error *err)
{
	memset(vmm->changed_pages, 0,
	       guest_memory_dirty_words(&vmm->memory) * sizeof(*vmm->changed_pages));
	guest_memory_take_dirty(&vmm->memory, vmm->changed_pages);
	return kvm_take_dirty(&vmm->kvm, &vmm->memory, vmm->changed_pages, err);
}

int vmm_save_round(struct vmm *vmm, struct error *err)
{
	int r = vmm->changed_pages ? 0 : begin_to_track(vmm, err);

	if (r == 0)
		r = find_changed(vmm, err);
	if (r < 0)
		return error_wrap(err, "copy the machine's memory");
	snapshot_pages_round(&vmm->saved_pages, vmm->changed_pages);
	return 0;
}

int vmm_save_step(struct vmm *vmm, uint64_t bytes, uint64_t *pages, struct error *err)
{
	int r = snapshot_pages_step(&vmm->saved_pages, &vmm->memory, bytes, err);

	*pages = vmm->saved_pages.written;
	return r < 0 ? error_wrap(err, "copy the machine's memory") : r;
}

/* What is left, all at once. */
static int save_pages(struct vmm *vmm, uint64_t *pages, struct error *err)
{
	int r = vmm->changed_pages ? find_changed(vmm, err) : 0;

	if (r < 0)
		return r;
	snapshot_pages_round(&vmm->saved_pages, vmm->changed_pages);
	do {
		r = vmm_save_step(vmm, UINT64_MAX, pages, err);
	} while (r > 0);
	return r;
}

void vmm_save_end(struct vmm *vmm)
{
	bool paused = vmm->paused;

	if (vmm->changed_pages) {
		vmm_pause(vmm);
		kvm_track(&vmm->kvm, &vmm->memory, false, NULL);
		if (vmm->files)
			virtio_fs_track(vmm->files, -EBADF, NULL);
		guest_memory_untrack(&vmm->memory);
		if (!paused)
			vmm_resume(vmm);
	}
	free(vmm->changed_pages);
	vmm->changed_pages = NULL;
	snapshot_pages_free(&vmm->saved_pages);
}

/* ---- the machine ------------------------------------------------------------------------------ */

int vmm_save(struct vmm *vmm, int files, uint64_t *pages, struct error *err)
{
	const struct snapshot_header header = { .memory_size = vmm->config.memory,
						.cpus = vmm->config.cpus,
						.cards = vmm->config.card_count };
	_cleanup_snapshot_ struct snapshot s;
	int r;

	snapshot_begin(&s);
	if (vmm->files)
		virtio_fs_save_to(vmm->files, files);
	r = save_state(vmm, &s, err);
	if (r == 0)
		r = save_pages(vmm, pages, err);
	if (r == 0)
		r = snapshot_finish(&s, &vmm->saved_pages, &header, err);
	return r < 0 ? error_wrap(err, "save the machine") : 0;
}

static int check_machine(const struct vmm *vmm, struct snapshot *s, struct error *err)
{
	struct saved_machine saved;
	int r = snapshot_get(s, SNAPSHOT_MACHINE, &saved, sizeof(saved), err);

	if (r == 0 && (saved.cpus != vmm->config.cpus || saved.memory != vmm->config.memory))
		return error_set(err, EINVAL,
				 "the snapshot is of a machine with %llu processors and %llu MiB",
				 (unsigned long long)saved.cpus,
				 (unsigned long long)saved.memory >> 20);
	return r;
}

int vmm_restore_vcpus(const struct vmm *vmm, struct snapshot *s, struct snapshot **vcpus,
		      struct error *err)
{
	int r = check_machine(vmm, s, err);

	if (r < 0)
		return r;
	*vcpus = calloc(vmm->config.cpus, sizeof(**vcpus));
	if (!*vcpus)
		return error_errno(err, ENOMEM, "restore the machine");
	for (unsigned i = 0; r == 0 && i < vmm->config.cpus; i++)
		r = snapshot_get_part(s, SNAPSHOT_VCPU, &(*vcpus)[i], err);
	return r;
}

/* The guest learns by this that it is not the only one (VMGenID). */
static int renew_generation(const struct vmm *vmm, struct error *err)
{
	uint8_t generation[16];

	if (getrandom(generation, sizeof(generation), 0) != sizeof(generation))
		return error_errno(err, errno, "getrandom");
	if (!guest_memory_write(&vmm->memory, LAYOUT_GENERATION, generation, sizeof(generation)))
		return error_errno(err, EFAULT, "renew the machine's generation");
	return 0;
}

int vmm_restore(struct vmm *vmm, struct snapshot *s, struct error *err)
{
	int r = renew_generation(vmm, err);

	if (r == 0)
		r = vcpus_await(&vmm->vcpus, err);
	if (r == 0)
		r = kvm_restore(&vmm->kvm, s, err);
	if (r == 0)
		r = serial_restore(&vmm->serial, s, err);
	for (unsigned i = 0; r == 0 && i < vmm->device_count; i++)
		r = virtio_restore(vmm->devices[i], s, err);
	if (r == 0 && !vmm->config.hooks.save && s->at != s->len)
		r = error_set(err, EBADMSG, "the snapshot has more than the machine");
	return r < 0 ? error_wrap(err, "restore the machine") : 0;
}
