/* SPDX-License-Identifier: Apache-2.0 */
/* Putting a machine together, and running it; see vmm.h. */
#include "microvm/vmm.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "microvm/acpi.h"
#include "microvm/boot.h"
#include "microvm/power.h"
#include "microvm/virtio_mmio.h"

/* What Linux writes to its console when it gives up. */
#define PANIC "Kernel panic - not syncing: "

void vmm_config_init(struct vmm_config *config)
{
	*config = (struct vmm_config){
		.kernel = -1,
		.initrd = -1,
		.cpus = 1,
		.memory = UINT64_C(128) << 20,
		.console_input = -1,
		.console_output = -1,
		.serial = -1,
		.file_server = -1,
		.vsock_listener = -1,
		.vsock_directory = -1,
		.restore = -1,
	};
}

/* ---- exits of the guest: in vCPU threads -------------------------------------------------- */

static void access_serial(struct vmm *vmm, unsigned reg, bool write, uint8_t *data)
{
	if (write)
		serial_write(&vmm->serial, reg, *data);
	else
		*data = serial_read(&vmm->serial, reg);
}

static bool access_power(struct vmm *vmm, uint16_t port, bool write, uint8_t *data)
{
	enum vmm_end_reason reason;

	if (!write) {
		*data = power_read(port);
		return true;
	}
	reason = power_write(port, *data);
	if (reason != VMM_END_NONE)
		vmm_end(vmm, reason, 0, NULL);
	return reason == VMM_END_NONE;
}

/* All devices with ports have registers of one byte. Where nothing is, the bus floats. */
static bool access_port(void *machine, uint16_t port, bool write, void *data, unsigned size)
{
	struct vmm *vmm = machine;

	if (size == 1 && power_has_port(port))
		return access_power(vmm, port, write, data);
	if (size == 1 && port >= LAYOUT_COM1 && port < LAYOUT_COM1 + 8)
		access_serial(vmm, port - LAYOUT_COM1, write, data);
	else if (!write)
		memset(data, 0xff, size);
	return true;
}

static void access_mmio(void *machine, uint64_t address, bool write, void *data, unsigned size)
{
	struct vmm *vmm = machine;
	uint64_t index = (address - LAYOUT_MMIO) / LAYOUT_MMIO_SIZE;
	uint32_t offset = (uint32_t)(address % LAYOUT_MMIO_SIZE);

	if (address < LAYOUT_MMIO || index >= vmm->device_count) {
		if (!write)
			memset(data, 0xff, size);
	} else if (write) {
		virtio_mmio_write(vmm->devices[index], offset, data, size);
	} else {
		virtio_mmio_read(vmm->devices[index], offset, data, size);
	}
}

static int enter_vcpu(void *machine, unsigned index, struct error *err)
{
	const struct vmm_hooks *hooks = &((struct vmm *)machine)->config.hooks;

	(void)index;
	return hooks->enter_thread ? hooks->enter_thread(hooks->data, VMM_THREAD_VCPU, err) : 0;
}

static void vcpu_ended(void *machine, enum vmm_end_reason reason, const char *why)
{
	vmm_end(machine, reason, 0, why);
}

static const struct vcpu_ops vcpu_ops = {
	.enter = enter_vcpu,
	.port = access_port,
	.mmio = access_mmio,
	.end = vcpu_ended,
};

/* ---- devices ------------------------------------------------------------------------------ */

/* Puts a device, or the error of making one, into the next place: its page, its interrupt, its notifications. */
static int add_device(struct vmm *vmm, struct virtio_device *dev, struct error *err)
{
	unsigned index = vmm->device_count;
	uint64_t page = LAYOUT_MMIO + (uint64_t)index * LAYOUT_MMIO_SIZE;
	int r;

	if (!dev)
		return error_negative(err->code);
	if (index == LAYOUT_MMIO_MAX) {
		virtio_free(dev);
		return error_set(err, ENOSPC, "a machine has at most %u devices", LAYOUT_MMIO_MAX);
	}
	vmm->devices[vmm->device_count++] = dev;
	r = kvm_irqfd(&vmm->kvm, LAYOUT_MMIO_GSI + index, dev->irq_fd, err);
	for (unsigned i = 0; r == 0 && i < dev->ops->queue_count; i++)
		r = kvm_ioeventfd(&vmm->kvm, page + VIRTIO_MMIO_QUEUE_NOTIFY, i, dev->notify_fds[i],
				  err);
	if (r == 0)
		r = virtio_mmio_start(dev, err);
	return r < 0 ? error_wrap(err, "virtio-%s", dev->ops->name) : 0;
}

static int add_devices(struct vmm *vmm, struct error *err)
{
	struct vmm_config *config = &vmm->config;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < config->disk_count; i++) {
		struct virtio_blk_options options = config->disks[i];

		config->disks[i].fd = -1; /* the device's, whatever happens */
		r = add_device(vmm, virtio_blk_new(&options, &vmm->memory, &vmm->loop, err), err);
		if (r < 0)
			return error_wrap(err, "disk %u", i);
	}
	if (config->console_output >= 0) {
		int input = config->console_input, output = config->console_output;

		config->console_input = config->console_output = -1;
		r = add_device(
			vmm, virtio_console_new(input, output, &vmm->memory, &vmm->loop, err), err);
	}
	if (r == 0)
		r = add_device(vmm, virtio_rng_new(&vmm->memory, &vmm->loop, err), err);
	return r;
}

static int add_cards(struct vmm *vmm, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < vmm->config.card_count; i++) {
		struct virtio_net_options options = vmm->config.cards[i];

		vmm->config.cards[i].tap = -1;
		r = add_device(vmm, virtio_net_new(&options, &vmm->memory, &vmm->loop, err), err);
		if (r == 0)
			vmm->cards[i] = vmm->devices[vmm->device_count - 1];
	}
	return r;
}

static void file_server_lost(void *data, const char *why)
{
	vmm_end(data, VMM_END_CRASH, 0, why);
}

static int add_files(struct vmm *vmm, struct error *err)
{
	struct vmm_config *config = &vmm->config;
	int r = add_device(vmm,
			   virtio_fs_new(take_fd(&config->file_server), config->fs_tag,
					 &vmm->memory, &vmm->loop, err),
			   err);

	if (r == 0) {
		vmm->files = vmm->devices[vmm->device_count - 1];
		virtio_fs_watch(vmm->files, file_server_lost, vmm);
	}
	return r;
}

/* What connects guest and host beyond disks and wires. */
static int add_links(struct vmm *vmm, struct error *err)
{
	struct vmm_config *config = &vmm->config;
	int r = add_cards(vmm, err);

	if (r == 0 && config->file_server >= 0)
		r = add_files(vmm, err);
	if (r == 0 && config->vsock) {
		r = add_device(vmm,
			       virtio_vsock_new(VMM_GUEST_CID, take_fd(&config->vsock_listener),
						take_fd(&config->vsock_directory), &vmm->memory,
						&vmm->loop, err),
			       err);
		if (r == 0)
			vmm->vsock = vmm->devices[vmm->device_count - 1];
	}
	if (r == 0 && config->vsock) {
		r = add_device(vmm, virtio_balloon_new(&vmm->memory, &vmm->loop, err), err);
		if (r == 0)
			vmm->balloon = vmm->devices[vmm->device_count - 1];
	}
	return r;
}

static int add_serial(struct vmm *vmm, struct error *err)
{
	int output = vmm->config.serial, r;

	vmm->config.serial = -1;
	r = serial_init(&vmm->serial, output, &vmm->loop, err);
	return r < 0 ? r : kvm_irqfd(&vmm->kvm, LAYOUT_COM1_GSI, vmm->serial.irq_fd, err);
}

/* ---- the end ------------------------------------------------------------------------------ */

void vmm_end(struct vmm *vmm, enum vmm_end_reason reason, int signal, const char *text)
{
	pthread_mutex_lock(&vmm->lock);
	if (vmm->ending.reason == VMM_END_NONE) {
		vmm->ending.reason = reason;
		vmm->ending.signal = signal;
		snprintf(vmm->ending.text, sizeof(vmm->ending.text), "%s", text ? text : "");
		eventfd_write(vmm->end_fd, 1);
	}
	pthread_mutex_unlock(&vmm->lock);
}

static void ended(struct loop_source *source, uint32_t events)
{
	struct vmm *vmm = source->data;

	(void)events;
	loop_end(&vmm->loop);
}

/* A kernel that panics resets the machine (panic=-1); that it panicked is told by its last words alone. */
static void find_panic(struct vmm *vmm, struct vmm_ending *ending)
{
	char tail[SERIAL_TAIL + 1], *panic;

	serial_last_lines(&vmm->serial, tail, sizeof(tail));
	panic = strstr(tail, PANIC);
	if (!panic)
		return;
	panic += strlen(PANIC);
	panic[strcspn(panic, "\n")] = '\0';
	ending->reason = VMM_END_CRASH;
	snprintf(ending->text, sizeof(ending->text), "the guest's kernel panicked: %.512s", panic);
}

/* Where KVM gave up, the reason may be what it is. */
static void find_cause(const struct vmm *vmm, struct vmm_ending *ending)
{
	size_t len = strlen(ending->text);

	if (vmm->kvm.unfit.code)
		snprintf(ending->text + len, sizeof(ending->text) - len, "; %s",
			 vmm->kvm.unfit.text);
}

static void tell_ending(struct vmm *vmm, struct vmm_ending *ending)
{
	pthread_mutex_lock(&vmm->lock);
	*ending = vmm->ending;
	pthread_mutex_unlock(&vmm->lock);
	if (ending->reason == VMM_END_CRASH)
		find_cause(vmm, ending);
	if (ending->reason == VMM_END_RESET)
		find_panic(vmm, ending);
	serial_last_lines(&vmm->serial, ending->lines, sizeof(ending->lines));
}

/* ---- signals ------------------------------------------------------------------------------ */

static void signalled(struct loop_source *source, uint32_t events)
{
	struct vmm *vmm = source->data;
	const struct vmm_hooks *hooks = &vmm->config.hooks;
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (hooks->signalled)
		hooks->signalled(hooks->data, &info);
	else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT ||
		 info.ssi_signo == SIGHUP || info.ssi_signo == SIGQUIT)
		vmm_end(vmm, VMM_END_KILLED, (int)info.ssi_signo, NULL);
}

/* Before there are threads, which inherit the mask. */
static int take_signals(struct vmm *vmm, struct error *err)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &vmm->signals_before);
	vmm->signals_blocked = true;
	vmm->signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vmm->signal_fd < 0)
		return error_errno(err, errno, "signalfd");
	vmm->signal_source = (struct loop_source){
		.fd = vmm->signal_fd,
		.callback = signalled,
		.data = vmm,
	};
	return loop_watch(&vmm->loop, &vmm->signal_source, EPOLLIN, err);
}

static int watch_end(struct vmm *vmm, struct error *err)
{
	vmm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vmm->end_fd < 0)
		return error_errno(err, errno, "eventfd");
	vmm->end_source = (struct loop_source){ .fd = vmm->end_fd, .callback = ended, .data = vmm };
	return loop_watch(&vmm->loop, &vmm->end_source, EPOLLIN, err);
}

/* ---- making ------------------------------------------------------------------------------- */

static int check_config(const struct vmm_config *config, struct error *err)
{
	if (config->cpus < 1 || config->cpus > LAYOUT_CPUS_MAX)
		return error_set(err, EINVAL, "a machine has 1 to %u processors, not %u",
				 LAYOUT_CPUS_MAX, config->cpus);
	if (config->memory < VMM_MEMORY_MIN)
		return error_set(err, EINVAL, "a machine has at least %llu MiB of memory",
				 (unsigned long long)VMM_MEMORY_MIN >> 20);
	return 0;
}

/* That of a snapshot: read from its file, page by page, when the guest comes to it. */
static int restore_memory(struct vmm *vmm, struct error *err)
{
	int r = snapshot_open(&vmm->snapshot, vmm->config.restore, err);

	if (r == 0)
		r = vmm_restore_vcpus(vmm, &vmm->snapshot, &vmm->saved_vcpus, err);
	if (r == 0)
		r = guest_memory_create_private(&vmm->memory, vmm->config.memory, err);
	return r < 0 ? r : snapshot_map_memory(&vmm->snapshot, &vmm->memory, err);
}

static int make_hardware(struct vmm *vmm, struct error *err)
{
	int r = check_config(&vmm->config, err);

	if (r == 0)
		r = vmm->config.kvm ? 0 : kvm_open(&vmm->kvm, err);
	if (r == 0)
		r = vmm->config.restore >= 0
			    ? restore_memory(vmm, err)
			    : guest_memory_create(&vmm->memory, vmm->config.memory, err);
	if (r == 0)
		r = kvm_create_vm(&vmm->kvm, &vmm->memory, err);
	if (r == 0)
		r = loop_open(&vmm->loop, err);
	if (r == 0)
		r = take_signals(vmm, err);
	if (r == 0)
		r = watch_end(vmm, err);
	return r;
}

static int load_kernel(struct vmm *vmm, struct boot_state *boot, struct error *err)
{
	struct boot_config config = {
		.kernel = vmm->config.kernel,
		.initrd = vmm->config.initrd,
		.cmdline = vmm->config.cmdline,
	};
	struct acpi_config acpi = { .cpus = vmm->config.cpus, .devices = vmm->device_count };
	int r = boot_load(&vmm->memory, &config, boot, err);

	if (r < 0)
		return r;
	close_fd(&vmm->config.kernel);
	close_fd(&vmm->config.initrd);
	if (getrandom(acpi.generation, sizeof(acpi.generation), 0) != sizeof(acpi.generation))
		return error_errno(err, errno, "getrandom");
	return acpi_write(&vmm->memory, &acpi, err);
}

/* What the threads of the vCPUs do not wait for. */
static int fill(struct vmm *vmm, struct error *err)
{
	int r = add_serial(vmm, err);

	if (r == 0)
		r = add_devices(vmm, err);
	if (r == 0)
		r = add_links(vmm, err);
	if (r < 0)
		return r;
	return vmm->saved_vcpus ? vmm_restore(vmm, &vmm->snapshot, err)
				: load_kernel(vmm, &vmm->vcpus.boot, err);
}

static void close_config(struct vmm_config *config)
{
	close_fd(&config->kernel);
	close_fd(&config->initrd);
	for (unsigned i = 0; i < config->disk_count; i++)
		close_fd(&config->disks[i].fd);
	if (config->console_input != config->console_output)
		close_fd(&config->console_input);
	close_fd(&config->console_output);
	close_fd(&config->serial);
	for (unsigned i = 0; i < config->card_count; i++)
		close_fd(&config->cards[i].tap);
	close_fd(&config->file_server);
	close_fd(&config->vsock_listener);
	close_fd(&config->vsock_directory);
	close_fd(&config->restore);
}

struct vmm *vmm_new(const struct vmm_config *config, struct error *err)
{
	struct vmm *vmm = calloc(1, sizeof(*vmm));
	struct error own = { 0 };
	int r;

	if (!vmm) {
		struct vmm_config taken = *config;

		close_config(&taken);
		error_errno(err, ENOMEM, "make a machine");
		return NULL;
	}
	vmm->config = *config;
	if (config->kvm)
		vmm->kvm = *config->kvm;
	else
		vmm->kvm.dev = vmm->kvm.vm = -EBADF;
	vmm->memory.fd = vmm->loop.epoll = -EBADF;
	vmm->serial.output = vmm->serial.irq_fd = vmm->serial.wake_fd = -EBADF;
	vmm->signal_fd = vmm->end_fd = -EBADF;
	pthread_mutex_init(&vmm->lock, NULL);
	r = make_hardware(vmm, &own);
	if (r == 0) {
		r = vcpus_start(&vmm->vcpus, config->cpus, &vmm->kvm, &vcpu_ops, vmm,
				vmm->saved_vcpus, &own);
		vmm->has_vcpus = r == 0;
	}
	if (r == 0)
		r = fill(vmm, &own);
	if (r == 0)
		return vmm;
	if (err)
		*err = own;
	vmm_free(vmm);
	return NULL;
}

int vmm_run(struct vmm *vmm, struct vmm_ending *ending, struct error *err)
{
	const struct vmm_hooks *hooks = &vmm->config.hooks;
	int r = vcpus_run(&vmm->vcpus, err);

	if (r < 0)
		return r;
	if (hooks->started)
		hooks->started(hooks->data);
	r = loop_run(&vmm->loop, err);
	if (r < 0)
		return r;
	vcpus_stop(&vmm->vcpus);
	serial_flush(&vmm->serial);
	tell_ending(vmm, ending);
	return 0;
}

void vmm_pause(struct vmm *vmm)
{
	vcpus_pause(&vmm->vcpus);
	vmm->paused = true;
}

void vmm_resume(struct vmm *vmm)
{
	vcpus_resume(&vmm->vcpus);
	vmm->paused = false;
}

void vmm_free(struct vmm *vmm)
{
	if (!vmm)
		return;
	free(vmm->changed_pages);
	snapshot_pages_free(&vmm->saved_pages);
	if (vmm->has_vcpus)
		vcpus_free(&vmm->vcpus);
	free(vmm->saved_vcpus);
	snapshot_close(&vmm->snapshot);
	for (unsigned i = 0; i < vmm->device_count; i++)
		virtio_free(vmm->devices[i]);
	serial_free(&vmm->serial);
	close_fd(&vmm->end_fd);
	close_fd(&vmm->signal_fd);
	loop_close(&vmm->loop);
	kvm_close(&vmm->kvm);
	guest_memory_free(&vmm->memory);
	close_config(&vmm->config);
	if (vmm->signals_blocked)
		pthread_sigmask(SIG_SETMASK, &vmm->signals_before, NULL);
	pthread_mutex_destroy(&vmm->lock);
	free(vmm);
}
