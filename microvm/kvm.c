/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual machine as the kernel's; see kvm.h. */
#include "microvm/kvm.h"

#include <cpuid.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "microvm/snapshot.h"

#define DEVICE "/dev/kvm"

/* Three pages in the hole that Intel processors without "unrestricted guest" need for real mode. */
#define TSS_ADDRESS 0xfffbd000u

static const struct {
	int number;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
	{ KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

static int open_device(struct error *err)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return error_errno(
			err, errno,
			"open `" DEVICE
			"` (root and the group kvm may, as a rule: have the user added to it)");
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return error_errno(err, errno,
				   "open `" DEVICE
				   "` (this host has no KVM: is virtualisation off in its "
				   "firmware, or kvm_intel or kvm_amd not loaded?)");
	return error_errno(err, errno, "open `" DEVICE "`");
}

static int check_device(int fd, struct error *err)
{
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version < 0)
		return error_errno(err, errno, "`" DEVICE "` is not KVM");
	if (version != KVM_API_VERSION)
		return error_set(err, ENOTSUP,
				 "`" DEVICE "` has version %d of KVM's interface, not %d", version,
				 KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
			return error_set(err, ENOTSUP, "this host's KVM lacks %s", needed[i].name);
	return 0;
}

static bool processor_virtualises(void)
{
	unsigned a, b, c, d;
	bool vmx = __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5);
	bool svm = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 2);

	return vmx || svm;
}

static void find_unfit(struct error *why)
{
	if (access("/sys/module/kvm_pvm", F_OK) == 0)
		error_set(why, EOPNOTSUPP,
			  "this host's KVM is a paravirtual one (kvm_pvm), which runs only kernels "
			  "made for it");
	else if (!processor_virtualises())
		error_set(why, EOPNOTSUPP,
			  "this host's processor offers no virtualisation (neither vmx nor svm)");
}

int kvm_open(struct kvm *kvm, struct error *err)
{
	int size, r;

	*kvm = (struct kvm){ .dev = -EBADF, .vm = -EBADF };
	kvm->dev = open_device(err);
	if (kvm->dev < 0)
		return kvm->dev;
	r = check_device(kvm->dev, err);
	if (r == 0) {
		size = ioctl(kvm->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
		if (size < (int)sizeof(struct kvm_run))
			r = error_errno(err, size < 0 ? errno : EPROTO, "KVM_GET_VCPU_MMAP_SIZE");
		kvm->run_size = (size_t)size;
	}
	if (r < 0)
		kvm_close(kvm);
	else
		find_unfit(&kvm->unfit);
	return r;
}

static int set_memory(int vm, const struct guest_memory *memory, uint32_t flags, struct error *err)
{
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = flags,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size,
			.userspace_addr = (uintptr_t)region->host,
		};

		if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return error_errno(err, errno, "give KVM %llu MiB of memory",
					   (unsigned long long)region->size >> 20);
	}
	return 0;
}

int kvm_create_vm(struct kvm *kvm, const struct guest_memory *memory, struct error *err)
{
	int r;

	do {
		kvm->vm = ioctl(kvm->dev, KVM_CREATE_VM, 0);
	} while (kvm->vm < 0 && errno == EINTR);
	if (kvm->vm < 0)
		return error_errno(err, errno, "make a virtual machine");
	if (ioctl(kvm->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return error_errno(err, errno, "KVM_SET_TSS_ADDR");
	/*
	 * Memory comes before the interrupt controllers: these put themselves on KVM's buses, whose readers' grace period (SRCU)
	 * begins with that, takes milliseconds, and would be waited for here.
	 */
	r = set_memory(kvm->vm, memory, 0, err);
	if (r < 0)
		return r;
	if (ioctl(kvm->vm, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_errno(err, errno, "make the machine's interrupt controllers");
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	struct kvm_userspace_memory_region gone = { .slot = 0, .memory_size = 0 };

	/*
	 * A machine that ends in its first milliseconds would wait for the grace period of kvm_create_vm() here, some 12
	 * milliseconds. Taking memory away hurries it.
	 */
	if (kvm->vm >= 0)
		ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &gone);
	close_fd(&kvm->vm);
	close_fd(&kvm->dev);
}

/* ---- snapshots ---------------------------------------------------------------------------- */

static const uint32_t controllers[] = { KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
					KVM_IRQCHIP_IOAPIC };

int kvm_save(const struct kvm *kvm, struct snapshot *s, struct error *err)
{
	struct kvm_clock_data clock;

	if (ioctl(kvm->vm, KVM_GET_CLOCK, &clock) < 0)
		return error_errno(err, errno, "KVM_GET_CLOCK");
	snapshot_put(s, SNAPSHOT_CLOCK, &clock.clock, sizeof(clock.clock));
	for (unsigned i = 0; i < ARRAY_SIZE(controllers); i++) {
		struct kvm_irqchip chip = { .chip_id = controllers[i] };

		if (ioctl(kvm->vm, KVM_GET_IRQCHIP, &chip) < 0)
			return error_errno(err, errno, "KVM_GET_IRQCHIP");
		snapshot_put(s, SNAPSHOT_INTERRUPTS, &chip, sizeof(chip));
	}
	return 0;
}

int kvm_restore(const struct kvm *kvm, struct snapshot *s, struct error *err)
{
	struct kvm_clock_data clock = { 0 };
	int r = snapshot_get(s, SNAPSHOT_CLOCK, &clock.clock, sizeof(clock.clock), err);

	if (r == 0 && ioctl(kvm->vm, KVM_SET_CLOCK, &clock) < 0)
		r = error_errno(err, errno, "KVM_SET_CLOCK");
	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(controllers); i++) {
		struct kvm_irqchip chip;

		r = snapshot_get(s, SNAPSHOT_INTERRUPTS, &chip, sizeof(chip), err);
		if (r < 0)
			return r;
		chip.chip_id = controllers[i];
		if (ioctl(kvm->vm, KVM_SET_IRQCHIP, &chip) < 0)
			r = error_errno(err, errno, "KVM_SET_IRQCHIP");
	}
	return r;
}

int kvm_track(const struct kvm *kvm, const struct guest_memory *memory, bool on, struct error *err)
{
	return set_memory(kvm->vm, memory, on ? KVM_MEM_LOG_DIRTY_PAGES : 0, err);
}

/* The second region's bits need not begin a word: they follow the first one's. */
static void add_bits(uint64_t *words, uint64_t first, const uint64_t *bits, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (bits[i / 64] >> i % 64 & 1)
			words[(first + i) / 64] |= UINT64_C(1) << (first + i) % 64;
}

int kvm_take_dirty(const struct kvm *kvm, const struct guest_memory *memory, uint64_t *words,
		   struct error *err)
{
	_cleanup_free_ uint64_t *bits = calloc(guest_memory_dirty_words(memory) + 1, sizeof(*bits));

	if (!bits)
		return error_errno(err, ENOMEM, "find what the guest wrote");
	for (unsigned i = 0; i < memory->region_count; i++) {
		const struct guest_region *region = &memory->regions[i];
		struct kvm_dirty_log log = { .slot = i, .dirty_bitmap = bits };

		if (ioctl(kvm->vm, KVM_GET_DIRTY_LOG, &log) < 0)
			return error_errno(err, errno, "KVM_GET_DIRTY_LOG");
		add_bits(words, region->offset / GUEST_PAGE_SIZE, bits,
			 region->size / GUEST_PAGE_SIZE);
	}
	return 0;
}

/* ---- eventfds ----------------------------------------------------------------------------- */

int kvm_irqfd(const struct kvm *kvm, unsigned gsi, int fd, struct error *err)
{
	struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = gsi };

	if (ioctl(kvm->vm, KVM_IRQFD, &irqfd) < 0)
		return error_errno(err, errno, "connect interrupt %u", gsi);
	return 0;
}

int kvm_ioeventfd(const struct kvm *kvm, uint64_t address, uint32_t value, int fd,
		  struct error *err)
{
	struct kvm_ioeventfd event = {
		.datamatch = value,
		.addr = address,
		.len = sizeof(value),
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	if (ioctl(kvm->vm, KVM_IOEVENTFD, &event) < 0)
		return error_errno(err, errno, "connect the notification %u at %#llx", value,
				   (unsigned long long)address);
	return 0;
}

int kvm_check(struct error *err)
{
	struct kvm kvm;
	int r = kvm_open(&kvm, err);

	if (r < 0)
		return r;
	kvm_close(&kvm);
	return kvm.unfit.code ? error_set(err, kvm.unfit.code, "%s", kvm.unfit.text) : 0;
}
