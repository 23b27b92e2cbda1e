/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPU threads; see vcpu.h.
 *
 * How one is stopped: the caller sets the vCPU's immediate_exit and sends its thread a signal. In the guest, the signal ends
 * KVM_RUN; before it, immediate_exit ends the next one at once, so no moment is missed. And such a KVM_RUN first completes
 * what the last exit began (the guest's registers get what was read), so a thread that waits does so between two instructions.
 */
#include "microvm/vcpu.h"

#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "microvm/cpuid.h"
#include "microvm/snapshot.h"

#ifdef HULL_SANITIZE
#define STACK_SIZE (1024u << 10)
#else
#define STACK_SIZE (256u << 10)
#endif

#define KICK_SIGNAL SIGRTMAX

/* ---- waiting ------------------------------------------------------------------------------ */

/* With the lock. In the run structure, which the kernel looks at, too; there is none where the vCPU could not be made. */
static void set_immediate_exit(struct vcpu *vcpu, bool wanted)
{
	if (vcpu->run)
		__atomic_store_n(&vcpu->run->immediate_exit, wanted, __ATOMIC_SEQ_CST);
}

/* Waits as long as the guest must not run. False: the thread is to end. */
static bool wait_to_run(struct vcpu *vcpu)
{
	struct vcpus *all = vcpu->all;
	bool paused = false, ending;

	pthread_mutex_lock(&all->lock);
	if (all->state == VCPUS_MAKING || all->state == VCPUS_PAUSED) {
		all->stopped++;
		pthread_cond_broadcast(&all->changed);
		while (all->state == VCPUS_MAKING || all->state == VCPUS_PAUSED) {
			paused = paused || all->state == VCPUS_PAUSED;
			pthread_cond_wait(&all->changed, &all->lock);
		}
		all->stopped--;
	}
	set_immediate_exit(vcpu, false);
	ending = all->state == VCPUS_ENDING;
	pthread_mutex_unlock(&all->lock);
	/* Refused where the guest has no such clock. */
	if (paused && !ending)
		ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	return !ending;
}

/* The thread is about to end: nobody needs to wait for it to stop. */
static void has_stopped(struct vcpu *vcpu)
{
	struct vcpus *all = vcpu->all;

	pthread_mutex_lock(&all->lock);
	all->stopped++;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

/* With the lock: makes all threads look up. */
static void kick_all(struct vcpus *vcpus)
{
	for (unsigned i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->items[i];

		if (!vcpu->started)
			continue;
		set_immediate_exit(vcpu, true);
		pthread_kill(vcpu->thread, KICK_SIGNAL);
	}
}

/* ---- exits -------------------------------------------------------------------------------- */

static bool handle_port(struct vcpu *vcpu)
{
	const struct vcpu_ops *ops = vcpu->all->ops;
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;

	/* A string instruction has several at once. */
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		if (!ops->port(vcpu->all->machine, run->io.port, write, data, run->io.size))
			return false;
	return true;
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	vcpu->all->ops->mmio(vcpu->all->machine, run->mmio.phys_addr, run->mmio.is_write,
			     run->mmio.data, run->mmio.len);
}

static void end(struct vcpu *vcpu, enum vmm_end_reason reason, const char *why)
{
	vcpu->all->ops->end(vcpu->all->machine, reason, why);
}

static void _printf_(2, 3) crash(struct vcpu *vcpu, const char *fmt, ...)
{
	_cleanup_strbuf_ struct strbuf why = { 0 };
	struct kvm_regs regs;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	strbuf_addf(&why, "processor %u: %s", vcpu->index, text);
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0)
		strbuf_addf(&why, " (at %#llx)", (unsigned long long)regs.rip);
	end(vcpu, VMM_END_CRASH, strbuf_failed(&why) ? text : why.data);
}

/* Documentation/virt/kvm/api.rst, KVM_EXIT_INTERNAL_ERROR */
static void handle_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char bytes[3 * 16 + 1] = "";

	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		if (run->emulation_failure.ndata >= 1 &&
		    run->emulation_failure.flags &
			    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
			for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
				snprintf(bytes + (size_t)3 * i, 4, " %02x",
					 run->emulation_failure.insn_bytes[i]);
		crash(vcpu, "KVM cannot emulate the instruction%s", bytes);
		return;
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		crash(vcpu, "KVM met an exception within an exception");
		return;
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		crash(vcpu, "KVM could not deliver an interrupt or exception");
		return;
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		crash(vcpu, "KVM does not know why the processor left the guest");
		return;
	default:
		crash(vcpu, "KVM failed with its internal error %u", run->internal.suberror);
	}
}

static void handle_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		end(vcpu, VMM_END_POWEROFF, "");
		return;
	case KVM_SYSTEM_EVENT_RESET:
		end(vcpu, VMM_END_RESET, "");
		return;
	default:
		crash(vcpu, "the guest asked for the system event %u",
		      vcpu->run->system_event.type);
	}
}

/* False: the processor does not go on. */
static bool handle_exit(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_port(vcpu);
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		crash(vcpu, "triple fault");
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(vcpu);
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		crash(vcpu, "the processor does not enter the guest (hardware reason %#llx)",
		      (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return false;
	case KVM_EXIT_UNKNOWN:
		crash(vcpu, "left the guest for the unknown hardware reason %#llx",
		      (unsigned long long)run->hw.hardware_exit_reason);
		return false;
	default:
		crash(vcpu, "left the guest for the unknown reason %u", run->exit_reason);
		return false;
	}
}

static void run(struct vcpu *vcpu)
{
	bool going = true;

	while (going) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			going = handle_exit(vcpu);
		} else if (errno == EINTR || errno == EAGAIN) {
			/* EAGAIN: this processor has not been started, or just was. */
			going = wait_to_run(vcpu);
		} else {
			crash(vcpu, "KVM_RUN: %s", strerror(errno));
			going = false;
		}
	}
}

/* ---- threads ------------------------------------------------------------------------------ */

static void kicked(int signal)
{
	(void)signal; /* it is enough that it came */
}

/* One asks the kernel, and the others take its answer, since that takes a third of a millisecond. */
static int read_supported(struct vcpus *all, struct cpuid *cpuid, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&all->lock);
	if (!all->supported->header.nent)
		r = cpuid_read_supported(all->kvm->dev, all->supported, err);
	if (r == 0)
		memcpy(cpuid, all->supported, sizeof(*cpuid));
	else
		all->supported->header.nent = 0;
	pthread_mutex_unlock(&all->lock);
	return r;
}

static int make(struct vcpu *vcpu, struct error *err)
{
	const struct kvm *kvm = vcpu->all->kvm;
	struct cpuid cpuid;
	void *map;
	int r;

	vcpu->fd = ioctl(kvm->vm, KVM_CREATE_VCPU, vcpu->index);
	if (vcpu->fd < 0)
		return error_errno(err, errno, "make processor %u", vcpu->index);
	map = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (map == MAP_FAILED)
		return error_errno(err, errno, "map processor %u", vcpu->index);
	pthread_mutex_lock(&vcpu->all->lock);
	vcpu->run = map;
	pthread_mutex_unlock(&vcpu->all->lock);
	r = read_supported(vcpu->all, &cpuid, err);
	if (r == 0)
		r = vcpu_reset_state(vcpu, &cpuid, err);
	if (r == 0 && vcpu->all->saved)
		r = vcpu_restore(vcpu, &vcpu->all->saved[vcpu->index], err);
	return r < 0 ? error_wrap(err, "processor %u", vcpu->index) : 0;
}

/* Says that this vCPU is made, or could not be. */
static void made(struct vcpu *vcpu, const struct error *err)
{
	struct vcpus *all = vcpu->all;

	pthread_mutex_lock(&all->lock);
	all->made++;
	if (err->code && !all->error.code)
		all->error = *err;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

static int enter(struct vcpu *vcpu, struct error *err)
{
	struct vcpus *all = vcpu->all;
	int r = 0;

	/* The others wait for the guest's own start-up messages. */
	if (vcpu->index == 0 && !all->saved)
		r = vcpu_boot_state(vcpu, &all->boot, err);
	if (r == 0 && all->ops->enter)
		r = all->ops->enter(all->machine, vcpu->index, err);
	return r;
}

static void live(struct vcpu *vcpu)
{
	struct error err = { 0 };
	int r = make(vcpu, &err);

	made(vcpu, &err);
	if (r < 0 || !wait_to_run(vcpu))
		return;
	if (enter(vcpu, &err) < 0)
		end(vcpu, VMM_END_CRASH, err.text);
	else
		run(vcpu);
}

static void *vcpu_main(void *data)
{
	struct vcpu *vcpu = data;
	char name[16];
	sigset_t kick;

	snprintf(name, sizeof(name), "vcpu %u", vcpu->index);
	prctl(PR_SET_NAME, name);
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	live(vcpu);
	has_stopped(vcpu);
	return NULL;
}

static int start_thread(struct vcpu *vcpu, struct error *err)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = pthread_create(&vcpu->thread, &attr, vcpu_main, vcpu);
	pthread_attr_destroy(&attr);
	if (r)
		return error_errno(err, r, "start the thread of processor %u", vcpu->index);
	vcpu->started = true;
	return 0;
}

/* The handler is the process'; the signal stays blocked in all threads but the vCPUs'. */
static int catch_kicks(struct error *err)
{
	struct sigaction action = { .sa_handler = kicked };

	if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
		return error_errno(err, errno, "sigaction");
	return 0;
}

int vcpus_start(struct vcpus *vcpus, unsigned count, const struct kvm *kvm,
		const struct vcpu_ops *ops, void *machine, struct snapshot *saved,
		struct error *err)
{
	sigset_t all, before;
	int r;

	*vcpus = (struct vcpus){
		.kvm = kvm, .ops = ops, .machine = machine, .count = count, .saved = saved
	};
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->changed, NULL);
	r = catch_kicks(err);
	vcpus->items = calloc(count, sizeof(*vcpus->items));
	vcpus->supported = calloc(1, sizeof(*vcpus->supported));
	if (r == 0 && (!vcpus->items || !vcpus->supported))
		r = error_errno(err, ENOMEM, "make %u processors", count);
	for (unsigned i = 0; r == 0 && i < count; i++)
		vcpus->items[i] = (struct vcpu){ .all = vcpus, .index = i, .fd = -EBADF };
	/* The threads inherit the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; r == 0 && i < count; i++)
		r = start_thread(&vcpus->items[i], err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		vcpus_free(vcpus);
	return r;
}

/* With the lock. */
static int await_made(struct vcpus *vcpus, struct error *err)
{
	while (vcpus->made < vcpus->count)
		pthread_cond_wait(&vcpus->changed, &vcpus->lock);
	if (vcpus->error.code && err)
		*err = vcpus->error;
	return -vcpus->error.code;
}

int vcpus_await(struct vcpus *vcpus, struct error *err)
{
	int r;

	pthread_mutex_lock(&vcpus->lock);
	r = await_made(vcpus, err);
	pthread_mutex_unlock(&vcpus->lock);
	return r;
}

/* A thread that is done with its vCPU goes on at once: it waits for nobody where the kernel is loaded. */
int vcpus_run(struct vcpus *vcpus, struct error *err)
{
	int r;

	pthread_mutex_lock(&vcpus->lock);
	vcpus->state = VCPUS_RUNNING;
	pthread_cond_broadcast(&vcpus->changed);
	r = await_made(vcpus, err);
	pthread_mutex_unlock(&vcpus->lock);
	return r;
}

void vcpus_pause(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	if (vcpus->state == VCPUS_RUNNING) {
		vcpus->state = VCPUS_PAUSED;
		kick_all(vcpus);
	}
	while (vcpus->state == VCPUS_PAUSED && vcpus->stopped < vcpus->count)
		pthread_cond_wait(&vcpus->changed, &vcpus->lock);
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_resume(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	if (vcpus->state == VCPUS_PAUSED) {
		vcpus->state = VCPUS_RUNNING;
		pthread_cond_broadcast(&vcpus->changed);
	}
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_stop(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->state = VCPUS_ENDING;
	pthread_cond_broadcast(&vcpus->changed);
	kick_all(vcpus);
	pthread_mutex_unlock(&vcpus->lock);
	for (unsigned i = 0; vcpus->items && i < vcpus->count; i++) {
		if (vcpus->items[i].started)
			pthread_join(vcpus->items[i].thread, NULL);
		vcpus->items[i].started = false;
	}
}

void vcpus_free(struct vcpus *vcpus)
{
	vcpus_stop(vcpus);
	for (unsigned i = 0; vcpus->items && i < vcpus->count; i++) {
		if (vcpus->items[i].run)
			munmap(vcpus->items[i].run, vcpus->kvm->run_size);
		close_fd(&vcpus->items[i].fd);
	}
	free(vcpus->items);
	free(vcpus->supported);
	pthread_mutex_destroy(&vcpus->lock);
	pthread_cond_destroy(&vcpus->changed);
}
